// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/probabilities.h>
#include <moe/ops/sums.h>

namespace moe::balance {

Tensor probabilities(const Routing& routing, bool normalise) {
  Tensor p_TE = routing.scores_TE;
  if (normalise) p_TE = p_TE / p_TE.sum(1, /*keepdim=*/true).clamp_min(1e-20);
  return routing.valid_T.defined()
             ? at::where(routing.valid_T.unsqueeze(1), p_TE, at::zeros_like(p_TE))
             : p_TE;
}

Tensor probability_sums(const Routing& routing) {
  if (!routing.scores_TE.defined())
    return at::zeros({routing.num_experts + 1}, routing.experts_N.options().dtype(at::kDouble));
  return at::cat({ops::column_sums(probabilities(routing)),
                  routing.valid_tokens().to(at::kDouble).reshape({1})});
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

Tensor squared_variation(const Tensor& values_E) {
  const Tensor mean = values_E.mean();
  return (values_E - mean).square().mean() / mean.square().clamp_min(1e-20);
}

}  // namespace moe::balance
