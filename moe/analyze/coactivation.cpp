// E experts of a layer, G of the next.
#include <algorithm>
#include <cmath>

#include <moe/analyze/coactivation.h>
#include <moe/base/error.h>

namespace moe::analyze {

std::vector<ExpertPair> pairs_together(const CountTable& counts_EE,
                                       std::span<const int64_t> tokens_E) {
  check(counts_EE.rows() == counts_EE.columns() &&
            counts_EE.rows() == static_cast<int64_t>(tokens_E.size()),
        "analyze/coactivation", "expected as many experts in the table as there are counts of ",
        "tokens, got ", counts_EE.rows(), " x ", counts_EE.columns(), " and ", tokens_E.size(),
        '.');
  double sum = 0, squares = 0, all = 0;
  for (const int64_t tokens : tokens_E) {
    const auto n = static_cast<double>(tokens);
    sum += n, squares += n * n;
  }
  for (size_t i = 0; i < counts_EE.size(); ++i)
    if (const auto cell = counts_EE[i]; cell.row < cell.column)
      all += static_cast<double>(cell.count);
  const double products = (sum * sum - squares) / 2;  // over a < b of n_a n_b

  std::vector<ExpertPair> out;
  for (size_t i = 0; i < counts_EE.size(); ++i) {
    const auto [first, second, together] = counts_EE[i];
    if (first >= second) continue;
    const double product = static_cast<double>(tokens_E[static_cast<size_t>(first)]) *
                           static_cast<double>(tokens_E[static_cast<size_t>(second)]);
    const double expected = all * product / products;
    out.push_back({first, second, together, expected, static_cast<double>(together) / expected});
  }
  return out;
}

std::vector<ExpertPair> pairs_across(const CountTable& counts_EG) {
  const auto rows_E = counts_EG.row_sums(), columns_G = counts_EG.column_sums();
  const auto all = static_cast<double>(counts_EG.total());
  std::vector<ExpertPair> out;
  for (size_t i = 0; i < counts_EG.size(); ++i) {
    const auto [first, second, together] = counts_EG[i];
    const double expected = static_cast<double>(rows_E[static_cast<size_t>(first)]) *
                            static_cast<double>(columns_G[static_cast<size_t>(second)]) / all;
    out.push_back({first, second, together, expected, static_cast<double>(together) / expected});
  }
  return out;
}

std::vector<ExpertPair> strongest(std::vector<ExpertPair> pairs, int64_t most) {
  std::erase_if(pairs, [](const ExpertPair& pair) { return !(pair.lift > 1); });
  const auto evidence = [](const ExpertPair& pair) {
    return static_cast<double>(pair.together) * std::log(pair.lift);
  };
  std::ranges::stable_sort(
      pairs, [&](const ExpertPair& a, const ExpertPair& b) { return evidence(a) > evidence(b); });
  if (pairs.size() > static_cast<size_t>(most)) pairs.resize(static_cast<size_t>(most));
  return pairs;
}

}  // namespace moe::analyze
