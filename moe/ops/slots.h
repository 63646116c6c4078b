#pragma once
// T tokens, N pairs, E experts, G groups of tokens.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// Pairs of tokens and experts that ask for a slot: each expert has so many in each group of tokens
/// (its capacity). Pairs are token-major.
struct SlotRequests {
  /// (T+1,) int64, CSR: the pairs of each token, in its order of choice.
  Tensor offsets_T1;
  /// (N,) int64: the expert that each pair asks for; one outside [0, E) asks for nothing.
  Tensor experts_N;
  int64_t num_experts = 0;
  /// (G+1,) int64, rising from 0 to T: group g is the tokens groups_G1[g] .. groups_G1[g + 1].
  Tensor groups_G1;
  /// (G,) int64: the slots of each expert in group g.
  Tensor slots_G;
  /// (G, E) int64: slots that earlier calls took; undefined: none.
  Tensor taken_GE = {};
  /// (T,) float64: within a group the token with the largest goes first, ties to the earlier one,
  /// NaN last; undefined: tokens go in their order.
  Tensor priority_T = {};
  /// A token is served with all its pairs at a time; otherwise the first choices of all tokens of a
  /// group come before the second ones.
  bool token_by_token = false;
  /// (T, E) float32 or float64: a pair that finds its expert full moves to the one with a free slot
  /// that scores best for its token (ties to the lowest id, NaN last), among those that the token
  /// does not have. Undefined: such pairs get nothing.
  Tensor scores_TE = {};
};

/// (N,) int64: the expert in which each pair has a slot, E for those without.
///
/// One walk over the pairs of a group in order; pairs that move do so behind it, in the same order,
/// so that they take no slot from what a token chose (token by token: behind each token, so that no
/// token depends on a later one). O(N + T log T + G E), and O(E) more for each pair that moves.
/// Without gradient; the same for any number of threads. Inputs on another device are copied to the
/// CPU, as the walk is sequential: one synchronisation.
Tensor assign_slots(const SlotRequests& requests);

}  // namespace moe::ops
