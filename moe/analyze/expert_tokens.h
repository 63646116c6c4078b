#pragma once
// Which tokens an expert takes. E experts, V vocabulary. No tensors.

#include <vector>

#include <moe/analyze/count_table.h>

namespace moe::analyze {

/// A token id among the pairs of one expert.
struct TokenOfExpert {
  int64_t token = 0;
  int64_t pairs = 0;
  /// pairs / pairs of the expert.
  double share = 0;
  /// share / the token's share of all pairs of the layer: 1 where the expert takes the token as
  /// often as any.
  double lift = 0;
};

/// What one expert takes.
struct ExpertTokens {
  int64_t pairs = 0;
  /// Different ids among them.
  int64_t distinct = 0;
  /// The ids it takes most often, in order; of equal ones the smaller id first.
  std::vector<TokenOfExpert> frequent;
  /// The ids that stand for it: those of the largest pairs * ln(lift), their part of the mutual
  /// information of expert and token. Only ids with lift > 1.
  std::vector<TokenOfExpert> typical;
};

/// For each row of `counts_EV`, at most `most` ids in either list.
std::vector<ExpertTokens> tokens_of_experts(const CountTable& counts_EV, int64_t most);

}  // namespace moe::analyze
