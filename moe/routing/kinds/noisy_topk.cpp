// T tokens, D model width, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/softplus.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/noisy_topk.h>
#include <moe/routing/random.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void NoisyTopKRouter::validate(const std::string&) const {
  check_one_of("routing/noisy_topk", "softmax", softmax, {"before", "after"});
  check_one_of("routing/noisy_topk", "noise_std", noise_std, {"softplus", "sqrt_softplus"});
  check<ConfigError>(noise_epsilon >= 0, "routing/noisy_topk", "expected noise_epsilon >= 0, got ",
                     noise_epsilon, ". Shazeer uses 0.01.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// Shazeer et al. 2017: h = x W + N(0, 1) * (softplus(x W_noise) + 1e-2) in training, h = x W
/// in evaluation; the K largest of h, weighted by the softmax over the K.
///
/// Parameter "weight" (E, 2, D): of expert e, [e, 0] is its column of W and [e, 1] that of W_noise.
/// logits_TE is x W; scores_TE is softmax(h); in training noisy_logits_TE is h and noise_std_TE the
/// factor of N(0, 1), through which gradient reaches W_noise. The noise of a token depends on seed,
/// step, layer and its global number.
class NoisyTopK final : public Router {
 public:
  NoisyTopK(const RouterShape& shape, const NoisyTopKRouter& options)
      : Router(shape), rule_{.renormalise = false, .softmax = options.softmax}, options_(options) {
    weight_E2D_ = add_parameter("weight", {shape.num_experts, 2, shape.d_model},
                                {.role = Role::kScores, .per_expert = true});
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/noisy_topk",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const Tensor logits_TE = wide_linear(x_TD, weight_E2D_.select(1, 0));
    if (!context.training) return choose_by_softmax(logits_TE, shape_.top_k, rule_, context);
    const Tensor std_TE = noise_std(wide_linear(x_TD, weight_E2D_.select(1, 1)));
    const Tensor noisy_TE = logits_TE + normal_like(logits_TE, context) * std_TE;
    Routing routing = choose_by_softmax(noisy_TE, shape_.top_k, rule_, context);
    routing.logits_TE = logits_TE;
    routing.noisy_logits_TE = noisy_TE;
    routing.noise_std_TE = std_TE;
    return routing;
  }

 private:
  Tensor noise_std(const Tensor& raw_TE) const {
    const Tensor positive_TE = at::softplus(raw_TE);
    if (options_.noise_std == "softplus") return positive_TE + options_.noise_epsilon;
    // Where softplus underflows to 0 the root has no finite gradient.
    return positive_TE.clamp_min(1e-30).sqrt();
  }

  SoftmaxRule rule_;
  NoisyTopKRouter options_;
  Tensor weight_E2D_;
};

}  // namespace

MOE_KIND(routers, noisy_topk, NoisyTopK, NoisyTopKRouter)

}  // namespace moe::routing
