// T tokens, D model width, E experts, K choices per token.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/relu.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/relu.h>
#include <moe/routing/linear_router.h>

namespace moe {

void ReluRouter::validate(const std::string&) const {
  check<ConfigError>(std::isfinite(scale) && scale > 0, "routing/relu",
                     "expected scale to be finite and above 0, got ", scale, ". Correct it.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// ReMoE (Wang et al. 2024, arXiv 2412.14711): weight_te = relu(l_te) * scale; token t goes to
/// every expert with l_te > 0, in the order of ids. Differentiable everywhere, unlike a choice of
/// the best K; a token without a positive logit has no expert.
///
/// top_k is what the number of experts is meant to be on average: the balance term relu_l1 drives
/// it there. scores_TE is relu(l), whose rows do not sum to 1.
class Relu final : public LinearRouter {
 public:
  Relu(const RouterShape& shape, const ReluRouter& options)
      : LinearRouter(shape, options.bias), scale_(options.scale) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const Tensor gates_TE = at::relu(logits_TE);
    const Tensor experts_TE = at::arange(shape_.num_experts, logits_TE.options().dtype(at::kLong))
                                  .expand(logits_TE.sizes());
    const Tensor weights_TE = scale_ == 1 ? gates_TE : gates_TE * scale_;
    return finish_ragged(experts_TE, weights_TE, logits_TE.detach().gt(0), logits_TE, gates_TE,
                         context);
  }

 private:
  double scale_;
};

}  // namespace

MOE_KIND(routers, relu, Relu, ReluRouter)

}  // namespace moe::routing
