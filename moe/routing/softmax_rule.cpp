// T tokens, E experts, K choices per token.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/random.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

void SoftmaxRule::validate(const std::string& place) const {
  check_one_of(place, "softmax", softmax, {"before", "after"});
  check_one_of(place, "weight_on", weight_on, {"output", "input"});
}

void TemperatureSchedule::validate(const std::string& place) const {
  check<ConfigError>(temperature > 0 && temperature_end > 0, place,
                     "expected temperatures above 0, got ", temperature, " and ", temperature_end,
                     ". Raise them; small ones make the softmax hard.");
  check<ConfigError>(temperature_steps >= 0, place, "expected temperature_steps >= 0, got ",
                     temperature_steps, ". Use 0 for a constant temperature.");
  check<ConfigError>(temperature_steps > 0 || temperature_end == 1, place,
                     "expected temperature_steps > 0 beside temperature_end=", temperature_end,
                     ", got 0. Say how many steps the schedule takes.");
}

double TemperatureSchedule::at(const RoutingContext& context) const {
  if (temperature_steps == 0) return temperature;
  if (!context.training) return temperature_end;
  const double done =
      static_cast<double>(context.random.step) / static_cast<double>(temperature_steps);
  return temperature + (temperature_end - temperature) * std::min(done, 1.0);
}

Routing choose_by_softmax(const Tensor& logits_TE, int64_t top_k, const SoftmaxRule& rule,
                          const RoutingContext& context, const GroupLimit& limit) {
  const Tensor scores_TE = at::softmax(logits_TE, 1);
  // As the selection, a group's best expert is found by logits; a sum needs probabilities.
  const Tensor& ranked_TE = limit.group_score == "max" ? logits_TE : scores_TE;
  const auto [chosen_TK, experts_TK] =
      ops::topk(limited_to_groups(logits_TE, ranked_TE, limit), top_k);
  const Tensor weights_TK =
      rule.weights_sum_to_one() ? at::softmax(chosen_TK, 1) : at::gather(scores_TE, 1, experts_TK);
  Routing routing =
      finish_fixed(experts_TK, weights_TK * rule.scale, logits_TE, scores_TE, context);
  routing.weight_on_input = rule.weight_on == "input";
  return routing;
}

Routing choose_with_noise(const Tensor& logits_TE, double std, int64_t top_k,
                          const SoftmaxRule& rule, const RoutingContext& context) {
  if (std == 0) return choose_by_softmax(logits_TE, top_k, rule, context);
  const Tensor noisy_TE = logits_TE + normal_like(logits_TE, context) * std;
  Routing routing = choose_by_softmax(noisy_TE, top_k, rule, context);
  routing.logits_TE = logits_TE;
  routing.scores_TE = at::softmax(logits_TE, 1);
  routing.noisy_logits_TE = noisy_TE;
  routing.noise_std_TE = at::full({}, std, logits_TE.options()).expand(logits_TE.sizes());
  return routing;
}

}  // namespace moe::routing
