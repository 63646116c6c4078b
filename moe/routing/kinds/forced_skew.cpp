// T tokens, D model width, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/log.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/ops/random_fill.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/forced_skew.h>
#include <moe/routing/linear_router.h>

namespace moe {

void ForcedSkewRouter::validate(const std::string&) const {
  check<ConfigError>(exponent >= 0, "routing/forced_skew", "expected exponent >= 0, got ", exponent,
                     ". Use 0 for uniform draws.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// K experts drawn without replacement, one after another, with probabilities proportional to
/// (e + 1)^-exponent.
///
/// Drawn as the K largest of log-probability + Gumbel noise; the noise depends on seed, step, layer
/// and the token's global number. The weights are the softmax of the drawn experts' logits: the
/// cost of a learned router, and gradient reaches "weight" when K > 1.
class ForcedSkew final : public LinearRouter {
 public:
  ForcedSkew(const RouterShape& shape, const ForcedSkewRouter& options)
      : LinearRouter(shape, /*with_bias=*/false), options_(options) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const int64_t T = x_TD.size(0), E = shape_.num_experts;
    Tensor uniform_TE = at::empty({T, E}, logits_TE.options().dtype(at::kDouble));
    const RandomStream stream(context.random, Purpose::kRouting);
    ops::fill_uniform_(uniform_TE, stream, 0, 1,
                       static_cast<uint64_t>(context.tokens.first_token * E));
    const Tensor gumbel_TE = -at::log(-at::log(uniform_TE));
    const Tensor log_p_E = -options_.exponent * at::log(at::arange(1, E + 1, uniform_TE.options()));
    const Tensor experts_TK = ops::topk(gumbel_TE + log_p_E, shape_.top_k).second;
    const Tensor weights_TK = at::softmax(at::gather(logits_TE, 1, experts_TK), 1);
    Routing routing =
        finish_fixed(experts_TK, weights_TK, logits_TE, at::softmax(logits_TE, 1), context);
    routing.weights_are_shares = true;
    return routing;
  }

 private:
  ForcedSkewRouter options_;
};

}  // namespace

MOE_KIND(routers, forced_skew, ForcedSkew, ForcedSkewRouter)

}  // namespace moe::routing
