#include <moe/experts/experts.h>

namespace moe::experts {

Experts::Experts(const ExpertsShape& shape) : Module(shape.tensors), shape_(shape) {
  check<ConfigError>(shape.d_model > 0 && shape.d_ff > 0 && shape.num_experts > 0, "experts",
                     "expected d_model, d_ff and num_experts above 0, got ", shape.d_model, ", ",
                     shape.d_ff, " and ", shape.num_experts, ". Set them in the layer's options.");
  if (shape.placement) {
    const auto& placement = *shape.placement;
    check(placement.experts() == shape.num_experts && shape.rank >= 0 &&
              shape.rank < placement.ranks(),
          "experts", "expected a placement of ", shape.num_experts, " experts and one of its ",
          placement.ranks(), " ranks, got one of ", placement.experts(), " and rank ", shape.rank,
          ". Pass the layer's.");
    return;
  }
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
  ParameterInfo out = {.role = role,
                       .part = Part::kExperts,
                       .per_expert = true,
                       .sharded = true,
                       .first_expert = shape_.first,
                       .whole = shape_.num_experts};
  if (!shape_.placement) return out;
  out.first_expert = 0;
  out.numbers = shape_.placement->held_by(shape_.rank);
  out.copies = shape_.copies();
  out.placement = shape_.placement;
  return out;
}

#define MOE_REGISTRY expert_kinds
#define MOE_REGISTRY_NAMES "expert"
#define MOE_REGISTRY_TABLE <moe/experts/experts.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::experts
