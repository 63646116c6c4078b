// T tokens, E experts, G groups (sequences) of S tokens, N pairs, C cells (G, E).
#include <ATen/TensorOperators.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>

#include <moe/balance/load_times_probability.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

/// (G, E) float64 pairs of each expert in each group of S tokens, dropped ones not counted.
Tensor counts_by_group(const Routing& routing, int64_t G, int64_t S) {
  const int64_t bins = routing.num_experts + 1;  // the last one counts dropped pairs
  const Tensor group_N = routing.tokens_N().div(S, "floor");
  const Tensor cells = at::bincount(group_N * bins + routing.experts_N, {}, G * bins);
  return cells.reshape({G, bins}).slice(1, 0, routing.num_experts).to(at::kDouble);
}

}  // namespace

Tensor load_times_probability(const Tensor& counts_GE, const Tensor& p_GE, const Tensor& tokens_G) {
  const Tensor f_GE = counts_GE / counts_GE.sum(-1, /*keepdim=*/true).clamp_min(1);
  return (f_GE * p_GE).sum(-1) / tokens_G.clamp_min(1) * static_cast<double>(p_GE.size(-1));
}

Tensor load_times_probability_by_sequence(const Tensor& p_TE, const Routing& routing,
                                          const RoutingContext& context) {
  const int64_t T = routing.tokens(), S = context.tokens_per_sequence(T), G = T / S;
  const Tensor valid_T = routing.valid_T.defined()
                             ? routing.valid_T
                             : at::ones({T}, routing.offsets.options().dtype(at::kBool));
  const Tensor tokens_G = valid_T.reshape({G, S}).sum(1).to(at::kDouble);
  const int64_t E = routing.num_experts;
  const Tensor p_SC = p_TE.reshape({G, S, E}).transpose(0, 1).reshape({S, G * E});
  const Tensor p_GE = ops::column_sums(p_SC).reshape({G, E});
  const Tensor loss_G = load_times_probability(counts_by_group(routing, G, S), p_GE, tokens_G);
  return at::stack({loss_G.sum(), tokens_G.gt(0).sum().to(at::kDouble)});
}

}  // namespace moe::balance
