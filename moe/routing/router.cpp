#include <moe/base/log.h>
#include <moe/routing/router.h>

namespace moe::routing {

Router::Router(const RouterShape& shape) : Module(shape.tensors), shape_(shape) {
  check<ConfigError>(shape.d_model > 0 && shape.num_experts > 0, "routing",
                     "expected d_model > 0 and num_experts > 0, got ", shape.d_model, " and ",
                     shape.num_experts, ". Set both in the layer's options.");
  check<ConfigError>(shape.top_k >= 1 && shape.top_k <= shape.num_experts, "routing",
                     "expected top_k in [1, num_experts=", shape.num_experts, "], got ",
                     shape.top_k,
                     shape.top_k < 1 ? ". Raise it." : ". Lower top_k or add experts.");
}

void Router::set_untrained(std::string why) {
  untrained_ = std::move(why);
  if (!untrained_.empty() && !shape_.tensors.device().is_meta()) log::warn(untrained_);
}

void Router::end_step(const StepStatistics&) {}

#define MOE_REGISTRY routers
#define MOE_REGISTRY_NAMES "router"
#define MOE_REGISTRY_TABLE <moe/routing/routers.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::routing
