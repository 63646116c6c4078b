// T tokens, D model width, E experts, K choices per token.
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
}

}  // namespace moe

namespace moe::routing {

namespace {

/// The choice by p = softmax(l / temperature), or by p + b with the selection bias b; weight = p,
/// or p / max(sum of chosen p + epsilon, least_sum), times scale. With groups only experts of the
/// best groups by p (by p + b) are candidates; scores_TE is p over all experts.
class TopK final : public LinearRouter {
 public:
  TopK(const RouterShape& shape, const TopKRouter& options)
      : LinearRouter(shape, options.bias),
        rule_(SoftmaxRule::of(options)),
        temperature_(TemperatureSchedule::of(options)),
        limit_(GroupLimit::of(options)),
        bias_rate_(options.bias_rate),
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
    return routing_of(choose(x_TD, rule), rule_, context);
  }

  void end_step(const StepStatistics& statistics) override {
    move_selection_bias(statistics, bias_rate_);
  }

 private:
  SoftmaxRule rule_;
  TemperatureSchedule temperature_;
  GroupLimit limit_;
  double bias_rate_, epsilon_, least_sum_;
};

}  // namespace

MOE_KIND(routers, topk, TopK, TopKRouter)

}  // namespace moe::routing
