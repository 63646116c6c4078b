// T tokens.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include <moe/objectives/policy_loss.h>
#include <moe/ops/sums.h>

namespace moe::objectives {

bool has_policy(const std::vector<LayerReport>& layers) {
  return std::ranges::any_of(
      layers, [](const LayerReport& layer) { return layer.routing.log_chance_T.defined(); });
}

Tensor policy_loss(const std::vector<LayerReport>& layers, double task_loss) {
  Tensor total;
  for (const auto& [number, balance, routing] : layers) {
    if (!routing.log_chance_T.defined()) continue;
    const Tensor& expected = routing.expected_loss;
    const Tensor surprise = at::where(expected.isnan(), 0.0, task_loss - expected);
    const Tensor chance = ops::sum_of_all(routing.log_chance_T) / balance.tokens.clamp_min(1);
    const Tensor mine = chance * surprise.to(chance.options()) * routing.policy_coefficient;
    total = total.defined() ? total + mine : mine;
  }
  return total;
}

}  // namespace moe::objectives
