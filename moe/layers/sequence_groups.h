#pragma once
// Sequences of unequal lengths, each brought into a row of its own. T tokens, N sequences of a
// group, L the longest of these, X any width.

#include <vector>

#include <moe/flow/sequences.h>

namespace moe::layers {

/// Sequences of about one length: none is half as long as another or less.
struct SequenceGroup {
  /// (N, L) int64: the tokens; behind a sequence's last token that one again.
  Tensor token_NL;
  /// (N,) int64: how many are real. Undefined: all.
  Tensor length_N;

  /// x_TX (T, …) -> (N, L, …). Differentiable.
  Tensor take(const Tensor& x) const;
};

/// Groups of all sequences that have tokens: log2(longest) + 1 at most, in which at most every
/// second token is filling.
class SequenceGroups {
 public:
  SequenceGroups(const Runs& runs, at::Device device);

  const std::vector<SequenceGroup>& groups() const { return groups_; }
  /// What was computed of each group, (N, L, …) in their order -> (T, …). Differentiable.
  Tensor put_back(const std::vector<Tensor>& of_groups) const;

 private:
  std::vector<SequenceGroup> groups_;
  Tensor place_T_;  // of each token in the groups' token_NL laid end to end
};

}  // namespace moe::layers
