// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
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

Tensor squared_variation(const Tensor& values_E) {
  const Tensor mean = values_E.mean();
  return (values_E - mean).square().mean() / mean.square().clamp_min(1e-20);
}

}  // namespace moe::balance
