// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/finish.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

namespace {

struct TopKOptions {
  SoftmaxRule rule;
  TemperatureSchedule temperature;
  bool bias = false;
  GroupLimit limit;

  template <class Visitor>
  void fields(Visitor& v) {
    rule.fields(v);
    temperature.fields(v);
    v("bias", bias, "add a learned bias to the logits");
    limit.fields(v);
  }

  void validate(const std::string&) const {
    rule.validate("routing/topk");
    temperature.validate("routing/topk");
    limit.validate("routing/topk");
  }
};

/// R1: the choice by softmax of l / temperature. With groups (R13) only experts of the best groups
/// by p are candidates; scores_TE is p over all experts.
class TopKRouter final : public LinearRouter {
 public:
  TopKRouter(const RouterShape& shape, const TopKOptions& options)
      : LinearRouter(shape, options.bias), options_(options) {
    options.limit.check_shape("routing/topk", shape);
    warn_if_constant(shape, options.rule.weights_sum_to_one(), "routing/topk");
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    ops::ChoiceRule rule = options_.rule.choice(shape_.top_k, options_.limit);
    rule.temperature = options_.temperature.at(context);
    return routing_of(choose(x_TD, rule), options_.rule, context);
  }

 private:
  TopKOptions options_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(topk, TopKRouter, TopKOptions)
