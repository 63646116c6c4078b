// T tokens, D model width, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/sign.h>

#include <moe/routing/finish.h>
#include <moe/routing/group_limit.h>
#include <moe/routing/kinds/sigmoid.h>
#include <moe/routing/linear_router.h>

namespace moe {

void SigmoidRouter::validate(const std::string&) const {
  check_one_of("routing/sigmoid", "weight_on", weight_on, {"output", "input"});
  routing::GroupLimit::of(*this).validate("routing/sigmoid");
  check<ConfigError>(bias_rate >= 0, "routing/sigmoid", "expected bias_rate >= 0, got ", bias_rate,
                     ". A negative rate would feed the busy experts.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// DeepSeek-V3: s = sigmoid(l); the K largest of s + b; weight = s / (sum of chosen s +
/// 1e-20) * scale. With groups only experts of the best groups by s + b are candidates.
///
/// b is the buffer "selection_bias" (E) float32: it takes part in the selection only, no gradient
/// reaches it, and end_step moves it: b_e += bias_rate * sign(mean(c) - c_e). scores_TE is s,
/// whose rows do not sum to 1.
class Sigmoid final : public LinearRouter {
 public:
  Sigmoid(const RouterShape& shape, const SigmoidRouter& options)
      : LinearRouter(shape, options.bias), options_(options), limit_(GroupLimit::of(options)) {
    selection_bias_E_ =
        add_buffer("selection_bias", {shape.num_experts}, at::kFloat, {.per_expert = true});
    limit_.check_shape("routing/sigmoid", shape);
    set_untrained(
        why_constant(shape, options.renormalise, "routing/sigmoid", "renormalise = false"));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    ops::ChoiceRule rule = {.score = ops::Score::kSigmoid,
                            .k = shape_.top_k,
                            .sum_to_one = options_.renormalise,
                            .scale = options_.scale};
    limit_.apply_to(rule);
    const ops::Choices choices = choose(x_TD, rule, selection_bias_E_);
    Routing routing = finish_fixed(choices.experts_TK, choices.weights_TK, choices.logits_TE,
                                   choices.scores_TE, context);
    routing.weight_on_input = options_.weight_on == "input";
    return routing;
  }

  void end_step(const StepStatistics& statistics) override {
    check(statistics.counts_E.dim() == 1 && statistics.counts_E.size(0) == shape_.num_experts,
          "routing/sigmoid", "expected one count for each of ", shape_.num_experts,
          " experts, got shape ", statistics.counts_E.sizes(),
          ". Add the counts of this layer over ranks and micro-batches.");
    const at::NoGradGuard no_grad;
    const Tensor counts_E = statistics.counts_E.to(selection_bias_E_.device(), at::kDouble);
    const Tensor short_E = at::sign(counts_E.mean() - counts_E);
    selection_bias_E_.add_(short_E.to(selection_bias_E_.scalar_type()), options_.bias_rate);
  }

 private:
  SigmoidRouter options_;
  GroupLimit limit_;
  Tensor selection_bias_E_;
};

}  // namespace

MOE_KIND(routers, sigmoid, Sigmoid, SigmoidRouter)

}  // namespace moe::routing
