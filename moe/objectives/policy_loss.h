#pragma once
// T tokens.

#include <vector>

#include <moe/flow/output.h>

namespace moe::objectives {

/// REINFORCE for routers that draw their experts (Williams 1992; Clark et al. 2022, section on
/// RL-R):
/// () float64, the sum over layers of
///
///   coefficient (L - b) sum_t log_chance_t / tokens
///
/// with L = `task_loss` and the layer's expected loss b as constants, and the tokens of all ranks.
/// Its gradient is that of the expected task loss, times coefficient / tokens, in expectation over
/// the draws. 0 for a layer that expects nothing yet (NaN); undefined where no layer draws.
Tensor policy_loss(const std::vector<LayerReport>& layers, double task_loss);

/// Whether a layer draws its experts.
bool has_policy(const std::vector<LayerReport>& layers);

}  // namespace moe::objectives
