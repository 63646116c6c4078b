// T tokens, D model width, E experts.
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/sparsemixer.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/random.h>

namespace moe {

void SparsemixerRouter::validate(const std::string&) const {
  check<ConfigError>(std::isfinite(jitter) && jitter >= 0, "routing/sparsemixer",
                     "expected jitter to be finite and at least 0, got ", jitter,
                     ". Phi-3.5-MoE uses 0.01.");
  check_one_of("routing/sparsemixer", "estimator", estimator, {"heun", "none"});
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// Phi-3.5-MoE: the best logit m is chosen and weighs its share of a softmax over the logits l with
/// (m - l) / max(|l|, m) <= 2 jitter; for a second choice the same again without the first. Weights
/// do not sum to 1. scores_TE is softmax(l).
///
/// Training with estimator = "heun" is SparseMixer-v2 (Liu et al. 2024, GRIN, arXiv 2409.12136):
/// the choice is drawn from that softmax pi instead, and the expert's output f(pi_D) is
/// differentiated by Heun's third-order method, f(x) - f(0) = f'(x) / 4 + 3/4 f'(x / 3): a drawn
/// expert that is not the best weighs pi_D / 3 three times out of four. The gradient is that of
/// pi_D at every weight, dL/dl_i = weight gradient * pi_D ([i = D] - pi_i).
class Sparsemixer final : public LinearRouter {
 public:
  Sparsemixer(const RouterShape& shape, const SparsemixerRouter& options)
      : LinearRouter(shape, /*with_bias=*/false),
        reach_(2 * options.jitter),
        estimates_(options.estimator == "heun") {
    check<ConfigError>(shape.top_k <= 2, "routing/sparsemixer", "expected top_k = 1 or 2, got ",
                       shape.top_k, ". Use the topk router for more choices.");
  }

  bool estimates_gradient() const override { return estimates_; }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const int64_t T = logits_TE.size(0), E = logits_TE.size(1), K = shape_.top_k;
    Tensor drawn_TR;  // for each choice E numbers that draw it and one for its weight
    if (estimates_ && context.training)
      drawn_TR = uniform_like(at::empty({T, K * (E + 1)}, logits_TE.options()), context);
    Tensor left_TE = logits_TE;
    std::vector<Tensor> experts, weights;
    for (int64_t k = 0; k < K; ++k) {
      const Tensor pi_TE = near_the_best(left_TE, logits_TE);
      if (drawn_TR.defined()) {
        const Tensor mine_TR = drawn_TR.narrow(1, k * (E + 1), E + 1);
        draw(pi_TE, mine_TR, experts, weights);
      } else {
        experts.push_back(best_left(left_TE.detach(), experts));
        weights.push_back(pi_TE.gather(1, experts.back()));
      }
      left_TE = left_TE.scatter(1, experts.back(), kNever);
    }
    return finish_fixed(at::cat(experts, 1), at::cat(weights, 1), logits_TE,
                        at::softmax(logits_TE, 1), context);
  }

 private:
  /// (T, E) softmax over those of left_TE that are near the best of them.
  Tensor near_the_best(const Tensor& left_TE, const Tensor& logits_TE) const {
    const Tensor l_TE = logits_TE.detach();
    const Tensor m_T1 = l_TE.gather(1, ops::topk(left_TE.detach(), 1).second);
    const Tensor far_TE = ((m_T1 - l_TE) / at::maximum(l_TE.abs(), m_T1)).gt(reach_);
    return at::softmax(left_TE.masked_fill(far_TE, kNever), 1);
  }

  /// (T, 1) the largest of values_TE but those taken already, also where all others are NaN.
  static Tensor best_left(const Tensor& values_TE, const std::vector<Tensor>& taken) {
    constexpr double kLowest = std::numeric_limits<float>::lowest();
    Tensor left_TE = values_TE.nan_to_num(kLowest, std::nullopt, kLowest);
    for (const Tensor& taken_T1 : taken) left_TE = left_TE.scatter(1, taken_T1, kNever);
    return ops::topk(left_TE, 1).second;
  }

  /// Draws one expert a token and gives it Heun's weight, with the gradient of pi_D.
  static void draw(const Tensor& pi_TE, const Tensor& drawn_TR, std::vector<Tensor>& experts,
                   std::vector<Tensor>& weights) {
    const int64_t E = pi_TE.size(1);
    const Tensor gumbel_TE = -(-drawn_TR.narrow(1, 0, E).clamp(1e-20, 1 - 1e-7).log()).log();
    const Tensor known_TE = pi_TE.detach();
    experts.push_back(best_left(known_TE.log() + gumbel_TE, experts));
    const Tensor pi_T1 = pi_TE.gather(1, experts.back());
    const Tensor best_T1 = experts.back().eq(ops::topk(known_TE, 1).second);
    const Tensor whole_T1 = best_T1.logical_or(drawn_TR.narrow(1, E, 1).gt(0.75));
    const Tensor less_T1 =
        pi_T1.detach() * whole_T1.logical_not().to(pi_T1.scalar_type()) * (2 / 3.);
    weights.push_back(pi_T1 - less_T1);
  }

  double reach_;
  bool estimates_;
};

}  // namespace

MOE_KIND(routers, sparsemixer, Sparsemixer, SparsemixerRouter)

}  // namespace moe::routing
