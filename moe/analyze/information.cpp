#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe/analyze/information.h>

namespace moe::analyze {

namespace {

/// n log n, 0 at 0.
double n_log_n(int64_t n) {
  return n > 0 ? static_cast<double>(n) * std::log(static_cast<double>(n)) : 0;
}

/// sum n log n.
double n_log_n(std::span<const int64_t> counts) {
  double sum = 0;
  for (const int64_t n : counts) sum += n_log_n(n);
  return sum;
}

}  // namespace

double entropy(std::span<const int64_t> counts) {
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (total == 0) return 0;
  return std::max(0.0, (n_log_n(total) - n_log_n(counts)) / static_cast<double>(total));
}

std::vector<int64_t> row_sums(std::span<const int64_t> counts_DE, int64_t columns) {
  const auto E = static_cast<size_t>(columns);
  std::vector<int64_t> sums_D(counts_DE.size() / E, 0);
  for (size_t i = 0; i < counts_DE.size(); ++i) sums_D[i / E] += counts_DE[i];
  return sums_D;
}

std::vector<int64_t> column_sums(std::span<const int64_t> counts_DE, int64_t columns) {
  const auto E = static_cast<size_t>(columns);
  std::vector<int64_t> sums_E(E, 0);
  for (size_t i = 0; i < counts_DE.size(); ++i) sums_E[i % E] += counts_DE[i];
  return sums_E;
}

double mutual_information(std::span<const int64_t> counts_DE, int64_t columns) {
  // H(domain) + H(expert) - H(both), never below 0 by rounding.
  const double information = entropy(row_sums(counts_DE, columns)) +
                             entropy(column_sums(counts_DE, columns)) - entropy(counts_DE);
  return std::max(0.0, information);
}

double normalised_information(std::span<const int64_t> counts_DE, int64_t columns) {
  const double uncertainty = entropy(row_sums(counts_DE, columns));
  if (uncertainty == 0) return 0;
  return std::min(1.0, mutual_information(counts_DE, columns) / uncertainty);
}

}  // namespace moe::analyze
