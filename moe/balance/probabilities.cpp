// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/probabilities.h>
#include <moe/ops/scores.h>

namespace moe::balance {

Tensor probabilities(const Routing& routing, bool normalise) {
  return ops::probabilities(routing.scores_TE, normalise);
}

Tensor tokens_of(const Routing& routing) {
  return at::full({1}, routing.tokens(), routing.experts_N.options().dtype(at::kDouble));
}

Tensor probability_sums(const Routing& routing) {
  if (!routing.scores_TE.defined())
    return at::zeros({routing.num_experts + 1}, routing.experts_N.options().dtype(at::kDouble));
  const Tensor p_1E = ops::probability_sums(routing.scores_TE, /*normalise=*/true);
  return at::cat({p_1E.squeeze(0), tokens_of(routing)});
}

Tensor mean_probability(const Tensor& sums) {
  const int64_t E = sums.size(0) - 1;
  const Tensor tokens = sums.select(0, E);
  return at::where(tokens.gt(0), sums.slice(0, 0, E) / tokens.clamp_min(1),
                   1 / static_cast<double>(E));
}

Tensor p_log_p(const Tensor& p) {
  return p * p.clamp_min(1e-20).log();
}

Tensor squared_variation(const Tensor& values_GE) {
  const Tensor mean_G1 = values_GE.mean(-1, /*keepdim=*/true);
  return (values_GE - mean_G1).square().mean(-1) / mean_G1.squeeze(-1).square().clamp_min(1e-20);
}

Routing first_choices(const Routing& routing) {
  const Tensor begin_T = routing.offsets.slice(0, 0, -1), end_T = routing.offsets.slice(0, 1);
  const Tensor some_T = end_T.gt(begin_T);
  // A mark behind the pairs, for tokens that have none.
  const Tensor mark_1 = at::full({1}, routing.num_experts, routing.experts_N.options());
  const Tensor first_T = at::cat({routing.experts_N, mark_1})
                             .index_select(0, at::where(some_T, begin_T, routing.pairs()));
  Routing out = fixed_choices(first_T.unsqueeze(1),
                              at::ones({first_T.size(0), 1}, routing.weights_N.options()),
                              routing.num_experts);
  out.first_token = routing.first_token;
  return out;
}

}  // namespace moe::balance
