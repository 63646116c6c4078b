// T tokens, D model width, E experts, K choices per token.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/linear_router.h>

namespace moe::routing {

namespace {

struct TopKOptions {
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  double temperature = 1;
  double temperature_end = 1;
  int64_t temperature_steps = 0;
  bool bias = false;
  std::string weight_on = "output";

  template <class Visitor>
  void fields(Visitor& v) {
    v("renormalise", renormalise,
      "divide the chosen weights by their sum (Mixtral); false: DeepSeek-V2, OLMoE, Switch");
    v("softmax", softmax,
      "\"before\" the selection, or \"after\" it over the chosen logits (their weights sum to 1)");
    v("scale", scale, "the weights are multiplied by this (DeepSeek's routed scaling factor)");
    v("temperature", temperature, "logits are divided by this; the start of the schedule");
    v("temperature_end", temperature_end,
      "where the schedule ends; evaluation always uses it when there is one");
    v("temperature_steps", temperature_steps,
      "steps of a linear schedule of the temperature; 0: constant");
    v("bias", bias, "add a learned bias to the logits");
    v("weight_on", weight_on, "the weight multiplies the expert's \"output\" or its \"input\"");
  }

  void validate(const std::string&) const {
    const char* place = "routing/topk";
    check_one_of(place, "softmax", softmax, {"before", "after"});
    check_one_of(place, "weight_on", weight_on, {"output", "input"});
    check<ConfigError>(temperature > 0 && temperature_end > 0, place,
                       "expected temperatures above 0, got ", temperature, " and ", temperature_end,
                       ". Raise them; small ones make the softmax hard.");
    check<ConfigError>(temperature_steps >= 0, place, "expected temperature_steps >= 0, got ",
                       temperature_steps, ". Use 0 for a constant temperature.");
    check<ConfigError>(temperature_steps > 0 || temperature_end == 1, place,
                       "expected temperature_steps > 0 beside temperature_end=", temperature_end,
                       ", got 0. Say how many steps the schedule takes.");
  }

  bool weights_sum_to_one() const { return renormalise || softmax == "after"; }
};

/// R1: p = softmax(l / temperature); the K largest, weighted by p, or by p over its sum among the
/// chosen.
///
/// Selection looks at the logits, which order the experts as p does without the ties that rounding
/// p makes; dividing by the sum is a softmax over the chosen logits, which needs no epsilon. B16:
/// in training the temperature goes linearly from `temperature` to `temperature_end` with
/// context.random.step; evaluation runs at the end of the schedule.
class TopKRouter final : public LinearRouter {
 public:
  TopKRouter(const RouterShape& shape, const TopKOptions& options)
      : LinearRouter(shape, options.bias), options_(options) {
    warn_if_constant(shape, options.weights_sum_to_one(), "routing/topk");
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const Tensor scaled_TE = logits_TE / temperature(context);
    const Tensor scores_TE = at::softmax(scaled_TE, 1);
    const auto [chosen_TK, experts_TK] = ops::topk(scaled_TE, shape_.top_k);
    const Tensor weights_TK = options_.weights_sum_to_one() ? at::softmax(chosen_TK, 1)
                                                            : at::gather(scores_TE, 1, experts_TK);
    Routing routing =
        finish_fixed(experts_TK, weights_TK * options_.scale, logits_TE, scores_TE, context);
    routing.weight_on_input = options_.weight_on == "input";
    return routing;
  }

 private:
  double temperature(const RoutingContext& context) const {
    if (options_.temperature_steps == 0) return options_.temperature;
    if (!context.training) return options_.temperature_end;
    const double done =
        static_cast<double>(context.random.step) / static_cast<double>(options_.temperature_steps);
    return options_.temperature +
           (options_.temperature_end - options_.temperature) * std::min(done, 1.0);
  }

  TopKOptions options_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(topk, TopKRouter, TopKOptions)
