// T tokens, D model width, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/sign.h>
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

ops::Choices LinearRouter::choose(const Tensor& x_TD, const ops::ChoiceRule& rule) const {
  check_input(x_TD, shape_);
  const auto type = score_type(x_TD);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return ops::choose_linear(x_TD.to(type), weight_ED_.to(type),
                            bias_E_.defined() ? bias_E_.to(type) : bias_E_, rule,
                            selection_bias_E_);
}

void LinearRouter::add_selection_bias() {
  selection_bias_E_ =
      add_buffer("selection_bias", {shape_.num_experts}, at::kFloat, {.per_expert = true});
}

void LinearRouter::move_selection_bias(const StepStatistics& statistics, double rate) {
  if (!selection_bias_E_.defined()) return;
  check(statistics.counts_E.dim() == 1 && statistics.counts_E.size(0) == shape_.num_experts,
        "routing/selection_bias", "expected one count for each of ", shape_.num_experts,
        " experts, got shape ", statistics.counts_E.sizes(),
        ". Add the counts of this layer over ranks and micro-batches.");
  const at::NoGradGuard no_grad;
  const Tensor counts_E = statistics.counts_E.to(selection_bias_E_.device(), at::kDouble);
  const Tensor short_E = at::sign(counts_E.mean() - counts_E);
  selection_bias_E_.add_(short_E.to(selection_bias_E_.scalar_type()), rate);
}

}  // namespace moe::routing
