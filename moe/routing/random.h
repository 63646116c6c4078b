#pragma once
// T tokens, E experts, C columns.

#include <moe/routing/router.h>

namespace moe::routing {

/// Independent N(0, 1), one for each element of values_TC, of its dtype and device. The numbers of
/// a token depend on seed, step, layer and its global number only.
Tensor normal_like(const Tensor& values_TC, const LayerContext& context);

/// The same, uniform in [0, 1).
Tensor uniform_like(const Tensor& values_TC, const LayerContext& context);

}  // namespace moe::routing
