// T tokens, D model width, E experts, K choices per token.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <moe/ops/norm.h>
#include <moe/routing/budget.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/scaled_topk.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void ScaledTopKRouter::validate(const std::string&) const {
  check<ConfigError>(std::isfinite(norm_epsilon) && norm_epsilon >= 0, "routing/scaled_topk",
                     "expected norm_epsilon to be finite and at least 0, got ", norm_epsilon,
                     ". Correct it.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// Gemma 4: l = W (x / rms(x) * scale / sqrt(D)); p = softmax(l); the K largest, with p over its
/// sum among the chosen, times the expert's own factor. scores_TE is p.
///
/// Parameters beside "weight": "scale" (D) and "expert_scale" (E), which start at one.
class ScaledTopK final : public LinearRouter {
 public:
  ScaledTopK(const RouterShape& shape, const ScaledTopKRouter& options)
      : LinearRouter(shape, /*with_bias=*/false), epsilon_(options.norm_epsilon) {
    scale_D_ = add_parameter("scale", {shape.d_model}, {.role = Role::kScale});
    expert_scale_E_ = add_parameter("expert_scale", {shape.num_experts},
                                    {.role = Role::kScale, .per_expert = true});
    set_untrained(why_constant(shape, /*weights_sum_to_one=*/true, "routing/scaled_topk", ""));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const auto type = score_type(x_TD);
    const Tensor scale_D = scale_D_.to(type) / std::sqrt(static_cast<double>(shape_.d_model));
    const Tensor n_TD = ops::rms_norm(x_TD.to(type), scale_D, epsilon_);
    // Here and not behind the router: only shares keep their sum, factors are the experts' own.
    const ops::Choices choices = choose(n_TD, {.k = kept_choices(shape_.top_k, context.budget)});
    const Tensor factor_TK = expert_scale_E_.to(type)
                                 .index_select(0, choices.experts_TK.flatten())
                                 .view(choices.experts_TK.sizes());
    return finish_fixed(choices.experts_TK, choices.weights_TK * factor_TK, choices.logits_TE,
                        choices.scores_TE, context);
  }

 private:
  double epsilon_;
  Tensor scale_D_, expert_scale_E_;
};

}  // namespace

MOE_KIND(routers, scaled_topk, ScaledTopK, ScaledTopKRouter)

}  // namespace moe::routing
