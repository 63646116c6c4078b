#pragma once
// T tokens, E experts, K choices per token.

#include <string>

#include <moe/ops/choice.h>
#include <moe/routing/group_limit.h>
#include <moe/routing/router.h>

namespace moe::routing {

/// How logits become choices and weights, in the kinds that end in a softmax.
struct SoftmaxRule {
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";

  /// The rule that a router's options ask for; see softmax_fields.
  template <class Options>
  static SoftmaxRule of(const Options& o) {
    return {o.renormalise, o.softmax, o.scale, o.weight_on};
  }

  void validate(const std::string& place) const;
  bool weights_sum_to_one() const { return renormalise || softmax == "after"; }
  /// The settings that would leave the weights as they are: those that stand against it.
  std::string settings_of_raw_weights() const;
  /// The same for ops::choose.
  ops::ChoiceRule choice(int64_t top_k, const GroupLimit& limit = {}) const;
};

/// What logits are divided by, over the steps of a training run.
struct TemperatureSchedule {
  double temperature = 1;
  double temperature_end = 1;
  int64_t temperature_steps = 0;

  /// The schedule that a router's options ask for; see temperature_fields.
  template <class Options>
  static TemperatureSchedule of(const Options& o) {
    return {o.temperature, o.temperature_end, o.temperature_steps};
  }

  void validate(const std::string& place) const;
  /// In training, linear from `temperature` to `temperature_end` with context.random.step;
  /// evaluation runs at the end of the schedule.
  double at(const LayerContext& context) const;
};

/// p = softmax(l); the K largest, weighted by p, or by p over its sum among the chosen.
///
/// Selection looks at the logits, which order the experts as p does without the ties that rounding
/// p makes; dividing by the sum is a softmax over the chosen logits, which needs no epsilon. The
/// routing's logits_TE and scores_TE are l and p; callers that changed logits on their way here
/// put theirs back.
Routing choose_by_softmax(const Tensor& logits_TE, int64_t top_k, const SoftmaxRule& rule,
                          const LayerContext& context, const GroupLimit& limit = {});

/// The Routing of choices that were made by rule.choice().
Routing routing_of(const ops::Choices& choices, const SoftmaxRule& rule,
                   const LayerContext& context);

/// The same on l + std * N(0, 1). The routing's logits_TE and scores_TE are those without noise;
/// noisy_logits_TE and noise_std_TE are set when std > 0.
Routing choose_with_noise(const Tensor& logits_TE, double std, int64_t top_k,
                          const SoftmaxRule& rule, const LayerContext& context);

}  // namespace moe::routing
