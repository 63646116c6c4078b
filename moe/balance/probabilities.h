#pragma once
// What terms on probabilities share. T tokens, E experts.

#include <ATen/core/Tensor.h>

#include <moe/flow/routing.h>

namespace moe::balance {

using at::Tensor;

/// (T, E) the routing's scores; each row divided by its sum when `normalise`, which changes nothing
/// for a softmax and makes sigmoid scores comparable.
Tensor probabilities(const Routing& routing, bool normalise = true);

/// (1,) float64: the number of tokens.
Tensor tokens_of(const Routing& routing);

/// (E+1) float64 [p_E, tokens]: normalised probabilities summed over tokens, and their number.
/// Zeros when the routing has no scores.
Tensor probability_sums(const Routing& routing);

/// (E) P_e, the mean probability of each expert, of probability_sums added over ranks; 1/E where
/// there are no tokens, so that nothing counts as balance.
Tensor mean_probability(const Tensor& sums);

/// The first choice of each token alone; a token without one has the dropped mark.
Routing first_choices(const Routing& routing);

/// p ln p elementwise; 0 at p = 0, with a finite gradient.
Tensor p_log_p(const Tensor& p);

/// (std / mean)^2 along the last dimension, with the population variance; 0 where all are zero.
Tensor squared_variation(const Tensor& values_GE);

}  // namespace moe::balance
