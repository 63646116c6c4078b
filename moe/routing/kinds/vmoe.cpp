// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/kinds/vmoe.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe {

void VMoERouter::validate(const std::string&) const {
  check<ConfigError>(noise >= 0, "routing/vmoe", "expected noise >= 0, got ", noise,
                     ". V-MoE uses 1; 0 draws none.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// p = softmax(l + s/E * N(0, 1)), the noise in training only; the K largest with
/// weight p, never renormalised.
///
/// scores_TE is softmax(l), without noise, which the losses of V-MoE look at; noisy_logits_TE and
/// noise_std_TE are set while there is noise.
class VMoE final : public LinearRouter {
 public:
  VMoE(const RouterShape& shape, const VMoERouter& options)
      : LinearRouter(shape, options.bias),
        noise_std_(options.noise / static_cast<double>(shape.num_experts)) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    return choose_with_noise(logits(x_TD), context.training ? noise_std_ : 0, shape_.top_k,
                             {.renormalise = false}, context);
  }

 private:
  double noise_std_;
};

}  // namespace

MOE_KIND(routers, vmoe, VMoE, VMoERouter)

}  // namespace moe::routing
