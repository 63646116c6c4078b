#pragma once
// Benchmarks as one HTML page: roofline, scaling, tables.

#include <string>

#include <report/bench/results.h>

namespace moe::report::bench {

/// GFLOP/s against FLOP a byte: what the machine allows, a line a type, and every row of the table
/// as a point with its number. "" without rows that have a bound.
std::string roofline(const BenchResults& results);

enum class Scaling { kOverDense, kTokensPerSecond };
/// The rows of the group "scaling" against the number of experts, a line a type. "" without such
/// rows.
std::string scaling(const BenchResults& results, Scaling what);

/// The whole page. It loads nothing and holds no script of its own.
std::string render(const BenchResults& results);

}  // namespace moe::report::bench
