// T tokens, D model width, E experts, K choices per token.
#include <ATen/ops/arange.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/softmax.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/forced_balance.h>
#include <moe/routing/linear_router.h>

namespace moe::routing {

namespace {

/// Choice j of the token with global number t is expert (t * K + j) mod E, so that loads
/// differ by at most 1.
///
/// The weights are the softmax of the dealt experts' logits: the cost of a learned router (matrix
/// product, softmax over all experts), and gradient reaches "weight" when K > 1.
class ForcedBalance final : public LinearRouter {
 public:
  ForcedBalance(const RouterShape& shape, const ForcedBalanceRouter&)
      : LinearRouter(shape, /*with_bias=*/false) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const int64_t T = x_TD.size(0), K = shape_.top_k, first = context.tokens.first_token * K;
    const Tensor dealt_TK =
        at::arange(first, first + T * K, logits_TE.options().dtype(at::kLong)).reshape({T, K});
    const Tensor experts_TK = dealt_TK.remainder(shape_.num_experts);
    const Tensor weights_TK = at::softmax(at::gather(logits_TE, 1, experts_TK), 1);
    Routing routing =
        finish_fixed(experts_TK, weights_TK, logits_TE, at::softmax(logits_TE, 1), context);
    routing.weights_are_shares = true;
    return routing;
  }
};

}  // namespace

MOE_KIND(routers, forced_balance, ForcedBalance, ForcedBalanceRouter)

}  // namespace moe::routing
