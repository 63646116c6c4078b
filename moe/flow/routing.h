#pragma once
// T tokens, E experts, K choices per token, N routed pairs, M domains.

#include <ATen/core/Tensor.h>

namespace moe {

using at::Tensor;

/// Who goes where, with what weight: what a router hands to capacity, dispatch and balance.
///
/// Token-major: the pairs of token t are offsets[t] .. offsets[t+1], in the token's order of
/// choice. Not a (T, K) table, because expert choice, top-p and drops give tokens different numbers
/// of experts.
struct Routing {
  int64_t num_experts = 0;
  /// (T+1,) int64, CSR.
  Tensor offsets;
  /// (N,) int64 in [0, E]. The id E marks a dropped pair: nobody computes it (capacity).
  Tensor experts_N;
  /// (N,) float32 or float64, differentiable; 0 for dropped pairs.
  Tensor weights_N;
  /// (T, E) float32 or float64: what the router's matrix gives, before softmax, noise or selection
  /// bias. Undefined for routers without scores (forced, hash).
  Tensor logits_TE;
  /// (T, E) probabilities (or sigmoid scores) for the losses; undefined where logits are.
  Tensor scores_TE;
  /// (T, E) of the dtype of the logits: the logits with the random noise that the selection saw,
  /// and the standard deviation of that noise (losses on the chance of being chosen).
  /// Undefined when no noise was drawn, as in evaluation.
  Tensor noisy_logits_TE, noise_std_TE;
  /// (T,) float32 or float64, differentiable: log of the chance that the router's draw had of
  /// giving each token its experts, for routers that learn from the task loss by it; undefined
  /// otherwise.
  Tensor log_chance_T;
  /// (T, M) float32 or float64: logits of the M domains that a router with a classifier of domains
  /// takes its tokens for; undefined for others.
  Tensor domain_logits_TM;
  /// () beside log_chance_T: the loss that the router expects, and what the difference to it is
  /// multiplied by (objectives/policy_loss.h).
  Tensor expected_loss;
  double policy_coefficient = 0;
  /// (R,) float64, without gradient: sums over the tokens of this call that the router wants back
  /// in end_step, added over ranks and micro-batches; undefined: none. R is the same in every call.
  Tensor record_R;
  /// K when every token has exactly K pairs, 0 when ragged. Lets consumers skip the offsets.
  int64_t choices = 0;
  /// Global number of token 0 (ranks, micro-batches): keys counter-based randomness.
  int64_t first_token = 0;
  /// The weight multiplies the expert's input (Llama 4) instead of its output.
  bool weight_on_input = false;
  /// A token's weights are shares of a sum that the rule fixes (1, or a scale): where pairs are
  /// left out, the others take over what those had.
  bool weights_are_shares = false;

  int64_t tokens() const { return offsets.size(0) - 1; }
  int64_t pairs() const { return experts_N.size(0); }
  /// (N,) int64: the token of each pair. No device synchronisation.
  Tensor tokens_N() const;
  /// (E,) int64: pairs routed to each expert, dropped ones not counted.
  Tensor counts_E() const;
  /// () int64: pairs that carry the dropped mark.
  Tensor dropped() const;
};

/// A routing in which every token has K pairs: experts_TK int64, weights_TK.
Routing fixed_choices(const Tensor& experts_TK, const Tensor& weights_TK, int64_t num_experts);

}  // namespace moe
