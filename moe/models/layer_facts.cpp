#include <map>

#include <moe/experts/experts.h>
#include <moe/models/layer_facts.h>
#include <moe/routing/router.h>

namespace moe::models {

namespace {

int64_t parameters_of(const torch::nn::Module& module) {
  int64_t numbers = 0;
  for (const auto& parameter : module.parameters()) numbers += parameter.numel();
  return numbers;
}

std::shared_ptr<routing::Router> router_of(const ModelOptions& o, int64_t experts, int64_t top_k) {
  return routing::routers()
      .at(o.moe.router.kind)
      .make({.d_model = o.d_model, .num_experts = experts, .top_k = top_k}, o.moe.router.options);
}

LayerFacts facts_of(const ModelOptions& o, int64_t experts, int64_t top_k) {
  LayerFacts out;
  const auto router = router_of(o, experts, top_k);
  out.router_parameters = parameters_of(*router);
  out.experts_per_token = o.moe.capacity.experts_per_token(router->experts_per_token());
  const auto kind = experts::expert_kinds().at(o.moe.expert.kind);
  double flops = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const auto expert = kind.make({.d_model = o.d_model,
                                   .d_ff = o.expert_width(),
                                   .num_experts = experts,
                                   .first = e,
                                   .local = 1},
                                  o.moe.expert.options);
    out.expert_parameters += parameters_of(*expert);
    flops += static_cast<double>(expert->flops_per_row());
  }
  out.expert_flops = flops / static_cast<double>(experts);
  return out;
}

}  // namespace

double experts_met(const ModelOptions& options, int64_t experts, int64_t top_k) {
  return router_of(options, experts, top_k)->experts_per_token();
}

std::vector<LayerFacts> layer_facts(const ModelOptions& options) {
  std::map<std::pair<int64_t, int64_t>, LayerFacts> known;
  std::vector<LayerFacts> out;
  for (int64_t i = 0; i < options.layers; ++i) {
    const int64_t E = options.experts_of(i), K = options.top_k_of(i);
    if (E > 0 && !known.contains({E, K})) known[{E, K}] = facts_of(options, E, K);
    out.push_back(E > 0 ? known[{E, K}] : LayerFacts());
  }
  return out;
}

}  // namespace moe::models
