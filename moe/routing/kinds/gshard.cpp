// T tokens, D model width, E experts, K choices per token.
#include <ATen/TensorOperators.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/gshard.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/random.h>

namespace moe {

void GShardRouter::validate(const std::string&) const {
  check_one_of("routing/gshard", "second", second, {"all", "none", "threshold", "random"});
  check_one_of("routing/gshard", "second_eval", second_eval, {"all", "none", "threshold", "same"});
  check<ConfigError>(threshold > 0 && threshold <= 1, "routing/gshard",
                     "expected threshold in (0, 1], got ", threshold,
                     ". Correct it (Mesh TensorFlow uses 0.2), or leave it out and set second = "
                     "\"all\" to keep every expert.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// p = softmax(l); the two largest, each divided by their sum; the first is kept, the
/// second as the policy says. Dropping the second leaves the weight of the first as it is.
///
/// With top_k > 2 the same holds for K experts: weights over the sum of K, and the policy decides
/// on every choice after the first. Tokens that keep fewer experts have fewer pairs; nothing is
/// marked as dropped. The draw depends on seed, step, layer and the token's global number.
class GShard final : public LinearRouter {
 public:
  GShard(const RouterShape& shape, const GShardRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    set_untrained(why_constant(shape, /*weights_sum_to_one=*/true, "routing/gshard", ""));
  }

  /// An upper bound where the policy looks at weights.
  double active_experts() const override {
    return policy(/*training=*/true) == "none" ? 1 : shape_.top_k;
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const auto [logits_TE, scores_TE, experts_TK, weights_TK] = choose(x_TD, {.k = shape_.top_k});
    const std::string& keeps = policy(context.training);
    if (keeps == "all") return finish_fixed(experts_TK, weights_TK, logits_TE, scores_TE, context);
    if (keeps == "none")
      return finish_fixed(experts_TK.slice(1, 0, 1), weights_TK.slice(1, 0, 1), logits_TE,
                          scores_TE, context);
    Tensor kept_TK = keeps == "threshold"
                         ? weights_TK.gt(options_.threshold)
                         : uniform_like(weights_TK, context).lt(weights_TK / options_.threshold);
    kept_TK.select(1, 0).fill_(true);
    return finish_ragged(experts_TK, weights_TK, kept_TK, logits_TE, scores_TE, context);
  }

 private:
  const std::string& policy(bool training) const {
    static const std::string kAll = "all";
    if (training) return options_.second;
    if (options_.second_eval != "same") return options_.second_eval;
    return options_.second == "random" ? kAll : options_.second;
  }

  GShardRouter options_;
};

}  // namespace

MOE_KIND(routers, gshard, GShard, GShardRouter)

}  // namespace moe::routing
