#pragma once

#include <vector>

#include "tools/moe/bench_work.h"

namespace moe::tools {

/// Milliseconds of each repetition.
struct Timing {
  std::vector<double> ms;

  double median() const;
  double min() const;
  double max() const;
};

/// Times every work `repeat` times after `warmup` rounds, turn by turn, so that whatever else the
/// machine does falls on all of them alike. Throws ConfigError for counts out of range.
std::vector<Timing> time_in_turn(const std::vector<Work>& works, int64_t repeat, int64_t warmup);

/// GFLOP/s of the median.
double gflops(const Timing& timing, const Work& work);

/// The fields that CLI.md promises; on a processor whose peak was measured also the share of it
/// and the instruction set of the kernels.
Json timing_json(const Timing& timing, const Work& work, const BenchCommon& common);

}  // namespace moe::tools
