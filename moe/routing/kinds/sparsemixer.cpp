// T tokens, D model width, E experts.
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/sparsemixer.h>
#include <moe/routing/linear_router.h>

namespace moe {

void SparsemixerRouter::validate(const std::string&) const {
  check<ConfigError>(std::isfinite(jitter) && jitter >= 0, "routing/sparsemixer",
                     "expected jitter to be finite and at least 0, got ", jitter,
                     ". Phi-3.5-MoE uses 0.01.");
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// Phi-3.5-MoE: the best logit m is chosen and weighs its share of a softmax over the logits l with
/// (m - l) / max(|l|, m) <= 2 jitter; for a second choice the same again without the first. Weights
/// do not sum to 1, and are the same function in training (the published sampling and its gradient
/// are left out). scores_TE is softmax(l).
class Sparsemixer final : public LinearRouter {
 public:
  Sparsemixer(const RouterShape& shape, const SparsemixerRouter& options)
      : LinearRouter(shape, /*with_bias=*/false), reach_(2 * options.jitter) {
    check<ConfigError>(shape.top_k <= 2, "routing/sparsemixer", "expected top_k = 1 or 2, got ",
                       shape.top_k, ". Use the topk router for more choices.");
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const Tensor experts_TK = ops::topk(logits_TE.detach(), shape_.top_k).second;
    const Tensor first_T1 = experts_TK.slice(1, 0, 1);
    Tensor weights_TK = share(logits_TE, logits_TE, first_T1);
    if (shape_.top_k == 2) {
      const Tensor left_TE = logits_TE.scatter(1, first_T1, kNever);
      weights_TK = at::cat({weights_TK, share(left_TE, logits_TE, experts_TK.slice(1, 1, 2))}, 1);
    }
    return finish_fixed(experts_TK, weights_TK, logits_TE, at::softmax(logits_TE, 1), context);
  }

 private:
  /// (T, 1) the share of best_T1, the best of left_TE, among those of left_TE that are near it.
  Tensor share(const Tensor& left_TE, const Tensor& logits_TE, const Tensor& best_T1) const {
    const Tensor l_TE = logits_TE.detach(), m_T1 = l_TE.gather(1, best_T1);
    const Tensor far_TE = ((m_T1 - l_TE) / at::maximum(l_TE.abs(), m_T1)).gt(reach_);
    return at::softmax(left_TE.masked_fill(far_TE, kNever), 1).gather(1, best_T1);
  }

  double reach_;
};

}  // namespace

MOE_KIND(routers, sparsemixer, Sparsemixer, SparsemixerRouter)

}  // namespace moe::routing
