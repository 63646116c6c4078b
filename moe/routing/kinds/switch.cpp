// T tokens, D model width, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/switch.h>
#include <moe/routing/linear_router.h>

namespace moe {

void SwitchRouter::validate(const std::string&) const {
  check<ConfigError>(jitter >= 0 && jitter < 1, "routing/switch", "expected jitter in [0, 1), got ",
                     jitter, ". Switch uses 0.01.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// The expert with the largest p = softmax(l), with weight p.
///
/// The jitter of element d of a token depends on seed, step, layer and the token's global number
/// only. Logits and scores are those of the jittered input, which the losses of Switch look at.
class Switch final : public LinearRouter {
 public:
  Switch(const RouterShape& shape, const SwitchRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    check<ConfigError>(shape.top_k == 1, "routing/switch", "expected top_k = 1, got ", shape.top_k,
                       ". Use the router topk with renormalise = false for more choices.");
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const bool noisy = context.training && options_.jitter > 0;
    const ops::Choices choices =
        choose(noisy ? jittered(x_TD, context) : x_TD, {.k = 1, .sum_to_one = false});
    return finish_fixed(choices.experts_TK, choices.weights_TK, choices.logits_TE,
                        choices.scores_TE, context);
  }

 private:
  Tensor jittered(const Tensor& x_TD, const LayerContext& context) const {
    Tensor factor_TD = at::empty(x_TD.sizes(), x_TD.options().dtype(score_type(x_TD)));
    const RandomStream stream(context.random, Purpose::kRouterNoise);
    const auto first = static_cast<uint64_t>(context.tokens.first_token * shape_.d_model);
    ops::fill_uniform_(factor_TD, stream, 1 - options_.jitter, 1 + options_.jitter, first);
    return x_TD * factor_TD;
  }

  SwitchRouter options_;
};

}  // namespace

MOE_KIND(routers, switch, Switch, SwitchRouter)

}  // namespace moe::routing
