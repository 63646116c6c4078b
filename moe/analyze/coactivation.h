#pragma once
// Which experts go together: in one layer, chosen by one token; across layers, one after the other.
// E experts of a layer, G of the next. No tensors.

#include <span>
#include <vector>

#include <moe/analyze/count_table.h>

namespace moe::analyze {

/// An edge of the graph.
struct ExpertPair {
  int64_t first = 0, second = 0;
  /// How often they were seen together.
  int64_t together = 0;
  /// How often they would be if they had nothing to do with each other.
  double expected = 0;
  /// together / expected.
  double lift = 0;
};

/// The pairs of experts that some token of a layer chose, from `counts_EE` (only first < second is
/// read) and `tokens_E`, the tokens that chose each expert, in row-major order:
///
///   expected(i, j) = P n_i n_j / sum over a < b of n_a n_b,   P = all pairs counted.
///
/// The plain n_i n_j / T would call every pair rare: a token never takes an expert twice, which
/// leaves fewer pairs than independent draws have. So the products only divide the pairs there are:
/// with tokens that choose at random and evenly all lifts are 1 on average, for any number of
/// choices.
std::vector<ExpertPair> pairs_together(const CountTable& counts_EE,
                                       std::span<const int64_t> tokens_E);

/// The pairs (expert of a layer, expert of the next) that some token chose, from the counts of both
/// together, in row-major order: expected(i, j) = row_i column_j / all, independence of the table.
std::vector<ExpertPair> pairs_across(const CountTable& counts_EG);

/// The `most` pairs that stand out: those of the largest together * ln(lift), by which a pair's
/// weight of evidence and its size both count; of equal ones the earlier first. Only lift > 1.
std::vector<ExpertPair> strongest(std::vector<ExpertPair> pairs, int64_t most);

}  // namespace moe::analyze
