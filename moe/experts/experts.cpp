#include <moe/experts/experts.h>

namespace moe::experts {

Experts::Experts(const ExpertsShape& shape) : shape_(shape) {
  check<ConfigError>(shape.d_model > 0 && shape.d_ff > 0 && shape.num_experts > 0, "experts",
                     "expected d_model, d_ff and num_experts above 0, got ", shape.d_model, ", ",
                     shape.d_ff, " and ", shape.num_experts, ". Set them in the layer's options.");
  check(shape.first >= 0 && shape.first + shape.held() <= shape.num_experts, "experts",
        "expected a range of experts inside [0, ", shape.num_experts, "), got ", shape.held(),
        " from ", shape.first, ". Choose a number of ranks that divides the experts.");
}

Tensor Experts::forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                                 const RoutingContext& context) {
  return ops::combine_rows(forward(rows, context), pairs);
}

std::vector<std::pair<std::string, Tensor>> Experts::stacked_parameters() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& item : named_parameters()) out.emplace_back(item.key(), item.value());
  return out;
}

namespace kinds {
#define X(name, help) ExpertsRegistry::Entry make_##name();
#include <moe/experts/experts.def>
#undef X
}  // namespace kinds

ExpertsRegistry& expert_kinds() {
  static ExpertsRegistry* const registry = [] {
    auto* made = new ExpertsRegistry("expert");
#define X(name, help) made->add(#name, help, kinds::make_##name());
#include <moe/experts/experts.def>
#undef X
    return made;
  }();
  return *registry;
}

}  // namespace moe::experts
