#pragma once
// T tokens, E experts, N pairs.

#include <moe/flow/context.h>
#include <moe/flow/routing.h>

namespace moe::routing {

/// In training, the routing without the pairs of experts masked at random: those pairs are
/// dropped, and the weights of the others grow by 1 / (1 - share), so that evaluation, which masks
/// nothing, needs no other weights.
///
/// Every expert is masked with probability `share`, in [0, 1), but never all of them. Seed, step
/// and layer alone decide: the mask is the same on all ranks and in all micro-batches of a step. A
/// token whose experts are all masked gets nothing from the routed experts. Throws ConfigError
/// where weights are on the experts' inputs: only a linear expert is the same for scaled inputs.
Routing drop_experts(Routing routing, const LayerContext& context, double share);

}  // namespace moe::routing
