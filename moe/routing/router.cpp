#include <moe/routing/router.h>

namespace moe::routing {

Router::Router(const RouterShape& shape) : shape_(shape) {
  check<ConfigError>(shape.d_model > 0 && shape.num_experts > 0, "routing",
                     "expected d_model > 0 and num_experts > 0, got ", shape.d_model, " and ",
                     shape.num_experts, ". Set both in the layer's options.");
  check<ConfigError>(shape.top_k >= 1 && shape.top_k <= shape.num_experts, "routing",
                     "expected top_k in [1, num_experts=", shape.num_experts, "], got ",
                     shape.top_k, ". Lower top_k or add experts.");
}

void Router::end_step(const StepStatistics&) {}

namespace kinds {
#define X(name, help) RouterRegistry::Entry make_##name();
#include <moe/routing/routers.def>
#undef X
}  // namespace kinds

RouterRegistry& routers() {
  static RouterRegistry* const registry = [] {
    auto* made = new RouterRegistry("router");  // never destroyed: usable during static destruction
#define X(name, help) made->add(#name, help, kinds::make_##name());
#include <moe/routing/routers.def>
#undef X
    return made;
  }();
  return *registry;
}

}  // namespace moe::routing
