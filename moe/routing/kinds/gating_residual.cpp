// T tokens, D model width, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <moe/flow/earlier_logits.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/gating_residual.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void GatingResidualRouter::validate(const std::string&) const {
  routing::SoftmaxRule::of(*this).validate("routing/gating_residual");
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfResidual = "routing/gating_residual";

/// MoE++ (Jin et al. 2024): l = W x + W_g l', with l' the logits of the nearest layer before that
/// has such a router, 0 where there is none; then the rule of `topk`. W_g is
/// "residual_weight" (E, E) and starts at zero. The logits go on to the next such layer through
/// context.earlier_logits, with gradient unless `detach`.
///
/// A layer that is computed again in the backward pass sees the earlier logits of the first run,
/// which have no gradient: part of the gradient would be lost without a word. So without `detach`
/// it refuses to train where gradients are off, as they are in such a first run.
///
/// Throws ConfigError for that, and where the layer before has another number of experts.
class GatingResidual final : public LinearRouter {
 public:
  GatingResidual(const RouterShape& shape, const GatingResidualRouter& options)
      : LinearRouter(shape, options.bias),
        rule_(SoftmaxRule::of(options)),
        detach_(options.detach) {
    const auto zero = [](const Tensor& values, const RandomStream&) { Tensor(values).zero_(); };
    const int64_t E = shape.num_experts;
    residual_EE_ = add_parameter("residual_weight", {E, E},
                                 {.role = Role::kMatrix, .per_expert = true, .start = zero});
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), kPlaceOfResidual,
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    Tensor logits_TE = logits(x_TD);
    Tensor earlier_TE;
    if (context.earlier_logits) earlier_TE = context.earlier_logits->before(context.layer);
    if (earlier_TE.defined())
      check_earlier(earlier_TE, logits_TE, context);
    else
      earlier_TE = at::zeros_like(logits_TE);  // so that W_g has a gradient too: zero
    logits_TE = logits_TE + wide_linear(earlier_TE.to(logits_TE.scalar_type()), residual_EE_);
    if (context.earlier_logits)
      context.earlier_logits->put(context.layer, detach_ ? logits_TE.detach() : logits_TE);
    return choose_by_softmax(logits_TE, shape_.top_k, rule_, context);
  }

 private:
  void check_earlier(const Tensor& earlier_TE, const Tensor& logits_TE,
                     const LayerContext& context) const {
    check<ConfigError>(earlier_TE.sizes() == logits_TE.sizes(), kPlaceOfResidual,
                       "expected logits of ", logits_TE.size(1),
                       " experts from the layer before layer ", context.layer, ", got shape ",
                       earlier_TE.sizes(),
                       ". Give all layers with this router the same number of experts, or another "
                       "router.");
    check<ConfigError>(detach_ || !context.training || at::GradMode::is_enabled(), kPlaceOfResidual,
                       "expected a training pass with gradients on in layer ", context.layer,
                       ", got one that computes activations again later, through which the logits "
                       "before lose their gradient. Set router.detach = true, or train.recompute = "
                       "\"none\".");
  }

  SoftmaxRule rule_;
  bool detach_;
  Tensor residual_EE_;
};

}  // namespace

MOE_KIND(routers, gating_residual, GatingResidual, GatingResidualRouter)

}  // namespace moe::routing
