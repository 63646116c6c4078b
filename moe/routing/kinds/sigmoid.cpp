// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/finish.h>
#include <moe/routing/group_limit.h>
#include <moe/routing/kinds/sigmoid.h>
#include <moe/routing/linear_router.h>

namespace moe {

void SigmoidRouter::validate(const std::string&) const {
  check_one_of("routing/sigmoid", "weight_on", weight_on, {"output", "input"});
  routing::GroupLimit::of(*this).validate("routing/sigmoid");
  routing::check_bias_rate(*this, "routing/sigmoid", SigmoidRouter().bias_rate);
  routing::check_sum(*this, "routing/sigmoid");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// DeepSeek-V3: s = sigmoid(l); the K largest of s + b; weight = s / max(sum of chosen s + epsilon,
/// least_sum) * scale. With groups only experts of the best groups by s + b are candidates.
///
/// b is the selection bias, which end_step moves by bias_rate; without it the K largest l are
/// chosen. scores_TE is s, whose rows do not sum to 1.
class Sigmoid final : public LinearRouter {
 public:
  Sigmoid(const RouterShape& shape, const SigmoidRouter& options)
      : LinearRouter(shape, options.bias), options_(options), limit_(GroupLimit::of(options)) {
    if (options.selection_bias) add_selection_bias();
    limit_.check_shape("routing/sigmoid", shape);
    set_untrained(
        why_constant(shape, options.renormalise, "routing/sigmoid", "renormalise = false"));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    ops::ChoiceRule rule = {.score = ops::Score::kSigmoid,
                            .k = shape_.top_k,
                            .sum_to_one = options_.renormalise,
                            .epsilon = options_.epsilon,
                            .least_sum = options_.least_sum,
                            .scale = options_.scale};
    limit_.apply_to(rule);
    const ops::Choices choices = choose(x_TD, rule);
    Routing routing = finish_fixed(choices.experts_TK, choices.weights_TK, choices.logits_TE,
                                   choices.scores_TE, context);
    routing.weight_on_input = options_.weight_on == "input";
    routing.weights_are_shares = options_.renormalise;
    return routing;
  }

  void end_step(const StepStatistics& statistics) override {
    move_selection_bias(statistics, options_.bias_rate);
  }

 private:
  SigmoidRouter options_;
  GroupLimit limit_;
};

}  // namespace

MOE_KIND(routers, sigmoid, Sigmoid, SigmoidRouter)

}  // namespace moe::routing
