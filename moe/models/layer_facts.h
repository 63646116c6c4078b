#pragma once

#include <vector>

#include <moe/models/options.h>

namespace moe::models {

/// What router and experts of one MoE layer say of themselves; zeros for a dense layer.
struct LayerFacts {
  int64_t router_parameters = 0;
  /// Experts that meet a token, on average: what the router says, and no more than a capacity
  /// factor below 1 lets through.
  double experts_per_token = 0;
  /// Of all experts of the layer together.
  int64_t expert_parameters = 0;
  /// Forward FLOPs of one row in one expert, on average over the experts.
  double expert_flops = 0;
};

/// Experts that meet a token of a layer with so many experts and choices, on average: what a router
/// of the options' kind says.
double experts_met(const ModelOptions& options, int64_t experts, int64_t top_k);

/// One entry a layer. Makes one router, and each expert once, for every distinct pair of experts
/// and choices, and lets them go again: nothing of the model's size is filled or kept.
std::vector<LayerFacts> layer_facts(const ModelOptions& options);

}  // namespace moe::models
