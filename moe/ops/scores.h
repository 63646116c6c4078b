#pragma once
// What losses on a router's scores and logits sum up. T tokens, E experts, G groups of T / G tokens
// that follow each other.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// (T, E) the scores; each row divided by its sum (by 1e-20 if that is less) when `normalise`;
/// zeros where valid_T (bool; undefined: all true) does not hold.
Tensor probabilities(const Tensor& scores_TE, const Tensor& valid_T, bool normalise);

/// (G, E) float64: probabilities() summed over the tokens of each group. Differentiable; float32 on
/// the CPU in one pass over the scores and one for their gradient (no second derivative there), the
/// bits the same for any number of threads.
Tensor probability_sums(const Tensor& scores_TE, const Tensor& valid_T, bool normalise,
                        int64_t groups = 1);

/// (T,) ln sum_e e^l. Differentiable; as above.
Tensor log_sum_exp(const Tensor& logits_TE);

}  // namespace moe::ops
