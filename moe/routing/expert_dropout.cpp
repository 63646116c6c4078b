// T tokens, E experts, N pairs.
#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/base/error.h>
#include <moe/routing/expert_dropout.h>

namespace moe::routing {

namespace {

/// The part of Purpose::kExpertDropout that draws whole experts; part 0 draws hidden units.
constexpr uint32_t kWholeExperts = 1;

/// (E+1) bool on the CPU: the experts that stay; false for the id E of dropped pairs. The expert
/// with the largest draw always stays.
Tensor kept_experts(int64_t num_experts, const RandomKey& key, double share) {
  const RandomStream stream(key, Purpose::kExpertDropout, kWholeExperts);
  std::vector<double> draws;
  for (int64_t e = 0; e < num_experts; ++e)
    draws.push_back(stream.uniform53(static_cast<uint64_t>(e)));
  const double largest = *std::max_element(draws.begin(), draws.end());
  Tensor kept_E = at::empty({num_experts + 1}, at::kBool);
  bool* kept = kept_E.mutable_data_ptr<bool>();
  for (const double draw : draws) *kept++ = draw >= share || draw == largest;
  *kept = false;
  return kept_E;
}

}  // namespace

Routing drop_experts(Routing routing, const LayerContext& context, double share) {
  if (!context.training || share == 0) return routing;
  check<ConfigError>(
      !routing.weight_on_input, "routing/expert_dropout",
      "expected weights on the experts' outputs with expert_dropout > 0, got a "
      "router with weight_on = \"input\": an expert that is not linear would compute "
      "another function of larger inputs. Set expert_dropout = 0 or weight_on = "
      "\"output\".");
  const Tensor kept_E = kept_experts(routing.num_experts, context.random, share);
  const Tensor kept_N = kept_E.to(routing.experts_N.device()).index_select(0, routing.experts_N);
  routing.experts_N = at::where(kept_N, routing.experts_N, routing.num_experts);
  routing.weights_N =
      at::where(kept_N, routing.weights_N / (1 - share), at::zeros_like(routing.weights_N));
  return routing;
}

}  // namespace moe::routing
