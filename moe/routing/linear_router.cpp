// T tokens, D model width, E experts.
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <moe/routing/linear_router.h>
#include <moe/routing/wide_linear.h>

namespace moe::routing {

LinearRouter::LinearRouter(const RouterShape& shape, bool with_bias) : Router(shape) {
  const int64_t D = shape.d_model, E = shape.num_experts;
  weight_ED_ = add_parameter("weight", {E, D}, {.role = Role::kScores, .per_expert = true});
  if (with_bias) bias_E_ = add_parameter("bias", {E}, {.role = Role::kBias, .per_expert = true});
}

at::ScalarType LinearRouter::score_type(const Tensor& x_TD) const {
  return wide_type(x_TD, weight_ED_);
}

Tensor LinearRouter::logits(const Tensor& x_TD) const {
  check_input(x_TD, shape_);
  return wide_linear(x_TD, weight_ED_, bias_E_);
}

ops::Choices LinearRouter::choose(const Tensor& x_TD, const ops::ChoiceRule& rule,
                                  const Tensor& selection_bias_E) const {
  check_input(x_TD, shape_);
  const auto type = score_type(x_TD);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return ops::choose_linear(x_TD.to(type), weight_ED_.to(type),
                            bias_E_.defined() ? bias_E_.to(type) : bias_E_, rule, selection_bias_E);
}

}  // namespace moe::routing
