#pragma once
// T tokens, N pairs, E experts.

#include <ATen/core/Tensor.h>

#include <moe/flow/routing.h>

namespace moe::capacity {

using at::Tensor;

/// (N,) the weights of `routing` once its pairs are in the experts got_N (int64, E: nowhere): a
/// pair that moved from e to f weighs weight * score_f / score_e.
///
/// So the rule of the router that turned the score of e into a weight, whatever it is (a sum over
/// the token's choices, a scale), is the rule for f too: with raw probabilities p the weight
/// becomes p_f, with p over a sum it becomes p_f over the same sum. Differentiable in weights and
/// scores_TE. A score of 0 at e gives 0.
Tensor moved_weights(const Routing& routing, const Tensor& got_N, const Tensor& scores_TE);

/// (N,) the weights of `routing` scaled so that those of each token add up to what `before_N` (N)
/// add up to; unchanged where they add up to 0, as they do for tokens that lost all pairs.
/// Differentiable in both.
Tensor weights_of_sum(const Routing& routing, const Tensor& before_N);

}  // namespace moe::capacity
