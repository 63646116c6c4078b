#pragma once
// Information of tables of counts, in nats. D domains, E experts. No tensors.

#include <cstdint>
#include <span>
#include <vector>

namespace moe::analyze {

/// H = -sum p log p of counts that are not negative; 0 when all are zero.
double entropy(std::span<const int64_t> counts);

/// I(domain; expert) = sum p(d, e) log(p(d, e) / (p(d) p(e))) of a row-major table of `columns`
/// columns, at least 0; 0 for an empty table.
double mutual_information(std::span<const int64_t> counts_DE, int64_t columns);

/// Sums over columns: how many pairs each domain has.
std::vector<int64_t> row_sums(std::span<const int64_t> counts_DE, int64_t columns);
/// Sums over rows: how many pairs each expert has.
std::vector<int64_t> column_sums(std::span<const int64_t> counts_DE, int64_t columns);

/// I(domain; expert) / H(domain) in [0, 1]: the share of the uncertainty about a pair's domain that
/// knowing its expert removes. 1: every expert serves one domain; 0: independent, or one domain.
double normalised_information(std::span<const int64_t> counts_DE, int64_t columns);

}  // namespace moe::analyze
