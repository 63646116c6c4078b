// T tokens, D model width, E experts, K choices per token.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/norm.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/topk.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe {

void TopKRouter::validate(const std::string&) const {
  const char* place = "routing/topk";
  routing::SoftmaxRule::of(*this).validate(place);
  routing::TemperatureSchedule::of(*this).validate(place);
  routing::GroupLimit::of(*this).validate(place);
  routing::check_bias_rate(*this, place, 0);
  routing::check_sum(*this, place);
  check<ConfigError>(softmax == "before" || (epsilon == 0 && least_sum == 0 && !selection_bias),
                     place,
                     "expected no selection_bias, epsilon or least_sum with softmax = \"after\", "
                     "whose weights sum to 1 by themselves. Set softmax = \"before\".");
  check<ConfigError>(norm > 0 && std::isfinite(norm), place, "expected a finite norm above 0, got ",
                     norm, ". Use 1 for the sum.");
  check<ConfigError>(
      norm == 1 || (renormalise && softmax == "before" && epsilon == 0 && least_sum == 0), place,
      "expected norm = ", norm,
      " with renormalise = true and softmax = \"before\" and without epsilon and least_sum, got it "
      "beside others. Set these, or norm = 1.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// The choice by p = softmax(l / temperature), or by p + b with the selection bias b; weight = p,
/// or p / max(sum of chosen p + epsilon, least_sum), or p / (sum of chosen p^norm)^(1/norm), times
/// scale. With groups only experts of the
/// best groups by p (by p + b) are candidates; scores_TE is p over all experts.
class TopK final : public LinearRouter {
 public:
  TopK(const RouterShape& shape, const TopKRouter& options)
      : LinearRouter(shape, options.bias),
        rule_(SoftmaxRule::of(options)),
        temperature_(TemperatureSchedule::of(options)),
        limit_(GroupLimit::of(options)),
        bias_rate_(options.bias_rate),
        norm_(options.norm),
        epsilon_(options.epsilon),
        least_sum_(options.least_sum) {
    if (options.selection_bias) add_selection_bias();
    limit_.check_shape("routing/topk", shape);
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/topk",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    ops::ChoiceRule rule = rule_.choice(shape_.top_k, limit_);
    rule.temperature = temperature_.at(context);
    rule.epsilon = epsilon_;
    rule.least_sum = least_sum_;
    if (norm_ == 1) return routing_of(choose(x_TD, rule), rule_, context);
    rule.sum_to_one = false;
    rule.scale = 1;
    ops::Choices choices = choose(x_TD, rule);
    const Tensor& chosen_TK = choices.weights_TK;
    const Tensor norm_T1 = at::norm(chosen_TK, norm_, 1, /*keepdim=*/true);
    choices.weights_TK = chosen_TK / norm_T1 * rule_.scale;
    return routing_of(choices, rule_, context);
  }

  void end_step(const StepStatistics& statistics) override {
    move_selection_bias(statistics, bias_rate_);
  }

 private:
  SoftmaxRule rule_;
  TemperatureSchedule temperature_;
  GroupLimit limit_;
  double bias_rate_, norm_, epsilon_, least_sum_;
};

}  // namespace

MOE_KIND(routers, topk, TopK, TopKRouter)

}  // namespace moe::routing
