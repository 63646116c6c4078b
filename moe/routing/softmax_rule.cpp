// T tokens, E experts, K choices per token.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>

#include <moe/routing/finish.h>
#include <moe/routing/random.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

void SoftmaxRule::validate(const std::string& place) const {
  check_one_of(place, "softmax", softmax, {"before", "after"});
  check_one_of(place, "weight_on", weight_on, {"output", "input"});
}

std::string SoftmaxRule::settings_of_raw_weights() const {
  std::vector<std::string> out;
  if (softmax == "after") out.emplace_back("softmax = \"before\"");
  if (renormalise) out.emplace_back("renormalise = false");
  return join(out);
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

double TemperatureSchedule::at(const LayerContext& context) const {
  if (temperature_steps == 0) return temperature;
  if (!context.training) return temperature_end;
  const double done =
      static_cast<double>(context.random.step) / static_cast<double>(temperature_steps);
  return std::lerp(temperature, temperature_end, std::min(done, 1.0));  // exact at its end
}

ops::ChoiceRule SoftmaxRule::choice(int64_t top_k, const GroupLimit& limit) const {
  ops::ChoiceRule rule = {.k = top_k, .sum_to_one = weights_sum_to_one(), .scale = scale};
  limit.apply_to(rule);
  return rule;
}

Routing routing_of(const ops::Choices& choices, const SoftmaxRule& rule,
                   const LayerContext& context) {
  Routing routing = finish_fixed(choices.experts_TK, choices.weights_TK, choices.logits_TE,
                                 choices.scores_TE, context);
  routing.weight_on_input = rule.weight_on == "input";
  routing.weights_are_shares = rule.weights_sum_to_one();
  return routing;
}

Routing choose_by_softmax(const Tensor& logits_TE, int64_t top_k, const SoftmaxRule& rule,
                          const LayerContext& context, const GroupLimit& limit) {
  return routing_of(ops::choose(logits_TE, rule.choice(top_k, limit)), rule, context);
}

Routing choose_with_noise(const Tensor& logits_TE, double std, int64_t top_k,
                          const SoftmaxRule& rule, const LayerContext& context) {
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
