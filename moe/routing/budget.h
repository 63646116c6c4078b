#pragma once
// T tokens, K choices per token.

#include <moe/routing/router.h>

namespace moe::routing {

/// What is left of n choices at this budget: max(1, round(budget n)).
int64_t kept_choices(int64_t n, double budget);

/// `routing`, which is the router's, with the first kept_choices(n, context.budget) of each token's
/// pairs: n = K of a router that takes top_k, whatever a token has of them, else the token's own
/// number. Where weights are shares of a fixed sum (Routing::weights_are_shares) those of the kept
/// pairs grow so that the sum stays; other weights stay as they are. The pairs left out are no
/// drops: they are gone.
///
/// A budget of 1 changes no bit and costs nothing. Throws moe::Error for one outside (0, 1] and
/// ConfigError for routers whose pairs stand in no order of choice.
Routing within_budget(Routing routing, const Router& router, const LayerContext& context);

}  // namespace moe::routing
