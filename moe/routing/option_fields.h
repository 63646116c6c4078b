#pragma once

#include <cmath>
#include <string>

#include <moe/base/error.h>

// Fields that options of several routers have, under the same names. The structs themselves are
// flat, so that users name each option directly: moe::TopKRouter{.renormalise = false}.

namespace moe::routing {

/// Of options with renormalise, softmax, scale and weight_on: those of SoftmaxRule.
template <class Options, class Visitor>
void softmax_fields(Options& o, Visitor& v) {
  v("renormalise", o.renormalise,
    "divide the chosen weights by their sum (Mixtral); false: DeepSeek-V2, OLMoE, Switch");
  v("softmax", o.softmax,
    "\"before\" the selection, or \"after\" it over the chosen logits (their weights sum to 1)");
  v("scale", o.scale, "the weights are multiplied by this (DeepSeek's routed scaling factor)");
  v("weight_on", o.weight_on, "the weight multiplies the expert's \"output\" or its \"input\"");
}

/// Of options with temperature, temperature_end and temperature_steps: those of
/// TemperatureSchedule.
template <class Options, class Visitor>
void temperature_fields(Options& o, Visitor& v) {
  v("temperature", o.temperature, "logits are divided by this; the start of the schedule");
  v("temperature_end", o.temperature_end,
    "where the schedule ends; evaluation always uses it when there is one");
  v("temperature_steps", o.temperature_steps,
    "steps of a linear schedule of the temperature; 0: constant");
}

/// Of options with groups, kept_groups and group_score: those of GroupLimit.
template <class Options, class Visitor>
void group_fields(Options& o, Visitor& v) {
  v("groups", o.groups, "split the experts into this many groups of neighbours; 1: no limit");
  v("kept_groups", o.kept_groups,
    "how many of its best groups a token chooses among; needed when groups > 1");
  v("group_score", o.group_score,
    "a group is as good as its best expert, \"max\" (DeepSeek-V2), or as the sum of its "
    "\"best_two\" (DeepSeek-V3)");
}

/// Of options with epsilon and least_sum.
template <class Options, class Visitor>
void sum_fields(Options& o, Visitor& v) {
  v("epsilon", o.epsilon, "added to the sum that renormalising divides by");
  v("least_sum", o.least_sum, "that sum is at least this (ERNIE 4.5)");
}

template <class Options>
void check_sum(const Options& o, const std::string& place) {
  check<ConfigError>(
      std::isfinite(o.epsilon) && o.epsilon >= 0 && std::isfinite(o.least_sum) && o.least_sum >= 0,
      place, "expected epsilon and least_sum to be finite and at least 0, got ", o.epsilon, " and ",
      o.least_sum, ". Correct them.");
}

/// Of options with selection_bias and bias_rate.
template <class Options, class Visitor>
void selection_bias_fields(Options& o, Visitor& v) {
  v("selection_bias", o.selection_bias,
    "choose by score + a bias that takes no part in the weights and learns by no gradient");
  v("bias_rate", o.bias_rate,
    "step of the selection bias after each optimizer step; 0: it stays as loaded");
}

/// `usual` is the rate that says nothing.
template <class Options>
void check_bias_rate(const Options& o, const std::string& place, double usual) {
  check<ConfigError>(o.bias_rate >= 0, place, "expected bias_rate >= 0, got ", o.bias_rate,
                     ". A negative rate would feed the busy experts.");
  check<ConfigError>(o.selection_bias || o.bias_rate == 0 || o.bias_rate == usual, place,
                     "expected bias_rate = 0 without a selection bias, got ", o.bias_rate,
                     ". Set selection_bias = true.");
}

/// Of options with bias.
template <class Options, class Visitor>
void bias_field(Options& o, Visitor& v) {
  v("bias", o.bias, "add a learned bias to the logits");
}

}  // namespace moe::routing
