#pragma once
// What losses on a router's scores and logits sum up. T tokens, E experts, G groups of tokens that
// follow each other.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// (T, E) the scores; each row divided by its sum (by 1e-20 if that is less) when `normalise`.
Tensor probabilities(const Tensor& scores_TE, bool normalise);

/// (G, E) float64: probabilities() summed over the tokens of each group; group g is the tokens
/// groups_G1[g] .. groups_G1[g + 1] ((G+1,) int64, rising from 0 to T; undefined: all are one).
/// Differentiable; float32 on the CPU in one pass over the scores and one for their gradient (no
/// second derivative there), the bits the same for any number of threads, and a group's for any
/// groups beside it.
Tensor probability_sums(const Tensor& scores_TE, bool normalise, const Tensor& groups_G1 = {});

/// (T,) ln sum_e e^l. Differentiable; as above.
Tensor log_sum_exp(const Tensor& logits_TE);

}  // namespace moe::ops
