// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

namespace {

struct VMoEOptions {
  double noise = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("noise", noise, "s: in training the logits get noise of standard deviation s / E");
    v("bias", bias, "add a learned bias to the logits");
  }

  void validate(const std::string&) const {
    check<ConfigError>(noise >= 0, "routing/vmoe", "expected noise >= 0, got ", noise,
                       ". V-MoE uses 1; 0 draws none.");
  }
};

/// R5 (V-MoE): p = softmax(l + s/E * N(0, 1)), the noise in training only; the K largest with
/// weight p, never renormalised.
///
/// scores_TE is softmax(l), without noise, which the losses of V-MoE look at; noisy_logits_TE and
/// noise_std_TE are set while there is noise.
class VMoERouter final : public LinearRouter {
 public:
  VMoERouter(const RouterShape& shape, const VMoEOptions& options)
      : LinearRouter(shape, options.bias),
        noise_std_(options.noise / static_cast<double>(shape.num_experts)) {}

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    return choose_with_noise(logits(x_TD), context.training ? noise_std_ : 0, shape_.top_k,
                             {.renormalise = false}, context);
  }

 private:
  double noise_std_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(vmoe, VMoERouter, VMoEOptions)
