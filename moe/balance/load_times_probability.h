#pragma once
// sum_e f_e P_e, over a batch and over each row. T tokens, E experts, G groups (rows).

#include <ATen/core/Tensor.h>

#include <moe/flow/context.h>
#include <moe/flow/routing.h>

namespace moe::balance {

using at::Tensor;

/// E * sum_e w_e f_e P_e along the last dimension, with f_e = pairs of e / all pairs and P_e = p_e
/// / tokens; 0 where there are no tokens. Counts and probability sums (…, E), tokens (…), weights
/// (E,) float64 or undefined for 1.
Tensor load_times_probability(const Tensor& counts_GE, const Tensor& p_GE, const Tensor& tokens_G,
                              const Tensor& weights_E = {});

/// (2) float64 [loss, rows]: load_times_probability of each row of the context's tokens, added up,
/// and the number of rows with a token. P are the routing's scores, divided by their row sum when
/// `normalise`. f counts the pairs of `chosen`, dropped ones left out.
Tensor load_times_probability_by_sequence(const Routing& routing, const Routing& chosen,
                                          bool normalise, const TokenList& tokens,
                                          const Tensor& weights_E = {});

}  // namespace moe::balance
