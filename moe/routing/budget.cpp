// T tokens, K choices per token, N pairs, M kept pairs.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/routing/budget.h>

namespace moe::routing {

namespace {

/// What the weights of each token are multiplied by, so that their sum is what it was.
Tensor growth(const Tensor& before, const Tensor& after) {
  return at::where(after.gt(0), before / after, at::ones_like(after));
}

Routing first_of_fixed(Routing routing, int64_t kept) {
  const int64_t T = routing.tokens(), K = routing.choices;
  if (kept >= K) return routing;
  const Tensor weights_TK = routing.weights_N.view({T, K});
  Tensor kept_TK = weights_TK.slice(1, 0, kept);
  if (routing.weights_are_shares)
    kept_TK = kept_TK * growth(weights_TK.sum(1, /*keepdim=*/true), kept_TK.sum(1, true));
  routing.experts_N = routing.experts_N.view({T, K}).slice(1, 0, kept).reshape({T * kept});
  routing.weights_N = kept_TK.reshape({T * kept});
  routing.offsets = at::arange(T + 1, routing.offsets.options()) * kept;
  routing.choices = kept;
  return routing;
}

Routing first_of_ragged(Routing routing, const Tensor& most_T) {
  const int64_t T = routing.tokens();
  const Tensor token_N = routing.tokens_N();
  const Tensor place_N =
      at::arange(routing.pairs(), token_N.options()) - routing.offsets.index_select(0, token_N);
  const Tensor pair_M = place_N.lt(most_T.index_select(0, token_N)).nonzero().squeeze(1);
  const Tensor token_M = token_N.index_select(0, pair_M);
  Tensor weights_M = routing.weights_N.index_select(0, pair_M);
  if (routing.weights_are_shares) {
    const Tensor none_T = at::zeros({T}, weights_M.options().requires_grad(false));
    const Tensor growth_T = growth(none_T.index_add(0, token_N, routing.weights_N),
                                   none_T.index_add(0, token_M, weights_M));
    weights_M = weights_M * growth_T.index_select(0, token_M);
  }
  routing.experts_N = routing.experts_N.index_select(0, pair_M);
  routing.weights_N = weights_M;
  const Tensor counts_T = at::minimum(routing.offsets.diff(), most_T);
  routing.offsets = at::zeros({T + 1}, counts_T.options());
  routing.offsets.slice(0, 1).copy_(counts_T.cumsum(0));
  return routing;
}

}  // namespace

int64_t kept_choices(int64_t n, double budget) {
  return std::max<int64_t>(1, std::llround(budget * static_cast<double>(n)));
}

Routing within_budget(Routing routing, const Router& router, const LayerContext& context) {
  if (context.budget == 1) return routing;
  check(context.budget > 0 && context.budget < 1, "routing/budget",
        "expected a budget in (0, 1], got ", context.budget,
        ". It is the share of a token's choices that are computed.");
  check<ConfigError>(router.ranks_choices(), "routing/budget",
                     "expected a budget of 1 for a router whose pairs stand in no order of choice, "
                     "got ",
                     context.budget,
                     ". Leave the budget out, or take a router that lets tokens choose.");
  const int64_t K = router.shape().top_k;
  if (router.takes_top_k()) {
    const int64_t most = kept_choices(K, context.budget);
    if (routing.choices > 0) return first_of_fixed(std::move(routing), most);
    const Tensor most_T = at::full_like(routing.offsets.diff(), most);
    return first_of_ragged(std::move(routing), most_T);
  }
  if (routing.choices > 0) {
    const int64_t kept = kept_choices(routing.choices, context.budget);
    return first_of_fixed(std::move(routing), kept);
  }
  const Tensor counts_T = routing.offsets.diff();
  const Tensor kept_T =
      (counts_T.to(at::kDouble) * context.budget + 0.5).floor().to(at::kLong).clamp_min(1);
  return first_of_ragged(std::move(routing), kept_T);
}

}  // namespace moe::routing
