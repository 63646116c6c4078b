#pragma once

#include <vector>

#include <moe/flow/context.h>
#include <moe/layers/block.h>
#include <moe/models/generation_state.h>

namespace moe::models {

using layers::Recompute;

/// "none", "moe" or "blocks". Throws ConfigError naming `option` for anything else.
Recompute parse_recompute(const std::string& name, const std::string& option);

/// How a model is run, beside its inputs.
struct ForwardContext : PassContext {
  /// In training, where gradients are on.
  Recompute recompute = Recompute::kNone;
  /// Per layer that routes: pairs per expert in the earlier micro-batches of this step. Empty in
  /// the first.
  std::vector<Tensor> counts_so_far = {};
  /// The same of what their balance terms add up.
  std::vector<SumsSoFar> sums_so_far = {};
  /// The budget of each layer, routing or not; empty: `budget` for all.
  std::vector<double> layer_budgets = {};
  /// What the blocks remember of earlier calls, extended by this one; null: nothing.
  GenerationState* state = nullptr;
};

}  // namespace moe::models
