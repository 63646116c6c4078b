// T tokens, E experts, G groups (sequences) of S tokens, N pairs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>

#include <moe/balance/load_times_probability.h>
#include <moe/ops/order.h>
#include <moe/ops/scores.h>

namespace moe::balance {

namespace {

/// (G, E) float64 pairs of each expert in each group of S tokens, dropped ones not counted.
Tensor counts_by_group(const Routing& routing, int64_t G, int64_t S) {
  const int64_t bins = routing.num_experts + 1;  // the last one counts dropped pairs
  const Tensor group_N = routing.tokens_N().div(S, "floor");
  const Tensor cells = ops::count_ids(group_N * bins + routing.experts_N, G * bins);
  return cells.reshape({G, bins}).slice(1, 0, routing.num_experts).to(at::kDouble);
}

}  // namespace

Tensor load_times_probability(const Tensor& counts_GE, const Tensor& p_GE, const Tensor& tokens_G) {
  const Tensor f_GE = counts_GE / counts_GE.sum(-1, /*keepdim=*/true).clamp_min(1);
  return (f_GE * p_GE).sum(-1) / tokens_G.clamp_min(1) * static_cast<double>(p_GE.size(-1));
}

Tensor load_times_probability_by_sequence(const Routing& routing, const Routing& chosen,
                                          bool normalise, const RoutingContext& context) {
  const int64_t T = routing.tokens(), S = context.tokens_per_sequence(T), G = T / S;
  const Tensor valid_T = routing.valid_T.defined()
                             ? routing.valid_T
                             : at::ones({T}, routing.offsets.options().dtype(at::kBool));
  const Tensor tokens_G = valid_T.reshape({G, S}).sum(1).to(at::kDouble);
  const Tensor p_GE = ops::probability_sums(routing.scores_TE, routing.valid_T, normalise, G);
  const Tensor loss_G = load_times_probability(counts_by_group(chosen, G, S), p_GE, tokens_G);
  return at::stack({loss_G.sum(), tokens_G.gt(0).sum().to(at::kDouble)});
}

}  // namespace moe::balance
