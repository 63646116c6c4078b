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
}

}  // namespace moe

namespace moe::routing {

namespace {

/// The choice by softmax of l / temperature. With groups only experts of the best groups
/// by p are candidates; scores_TE is p over all experts.
class TopK final : public LinearRouter {
 public:
  TopK(const RouterShape& shape, const TopKRouter& options)
      : LinearRouter(shape, options.bias),
        rule_(SoftmaxRule::of(options)),
        temperature_(TemperatureSchedule::of(options)),
        limit_(GroupLimit::of(options)) {
    limit_.check_shape("routing/topk", shape);
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/topk",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    ops::ChoiceRule rule = rule_.choice(shape_.top_k, limit_);
    rule.temperature = temperature_.at(context);
    return routing_of(choose(x_TD, rule), rule_, context);
  }

 private:
  SoftmaxRule rule_;
  TemperatureSchedule temperature_;
  GroupLimit limit_;
};

}  // namespace

MOE_KIND(routers, topk, TopK, TopKRouter)

}  // namespace moe::routing
