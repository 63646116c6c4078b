#include <moe/experts/experts.h>

namespace moe::experts {

Experts::Experts(const ExpertsShape& shape) : Module(shape.tensors), shape_(shape) {
  check<ConfigError>(shape.d_model > 0 && shape.d_ff > 0 && shape.num_experts > 0, "experts",
                     "expected d_model, d_ff and num_experts above 0, got ", shape.d_model, ", ",
                     shape.d_ff, " and ", shape.num_experts, ". Set them in the layer's options.");
  check(shape.first >= 0 && shape.first + shape.held() <= shape.num_experts, "experts",
        "expected a range of experts inside [0, ", shape.num_experts, "), got ", shape.held(),
        " from ", shape.first, ". Take parallel::share_of's.");
}

Tensor Experts::forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                                 const LayerContext& context) {
  return ops::combine_rows(forward(rows, context), pairs);
}

Parameters Experts::stacked_parameters() const {
  return parameters_of(*this);
}

ParameterInfo Experts::stacked(Role role) const {
  return {.role = role,
          .part = Part::kExperts,
          .per_expert = true,
          .sharded = true,
          .first_expert = shape_.first,
          .whole = shape_.num_experts};
}

#define MOE_REGISTRY expert_kinds
#define MOE_REGISTRY_NAMES "expert"
#define MOE_REGISTRY_TABLE <moe/experts/experts.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::experts
