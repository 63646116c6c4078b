// T tokens, D model width, E experts, K choices per token.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/policy_gradient.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/random.h>

namespace moe {

void PolicyGradientRouter::validate(const std::string&) const {
  const char* place = "routing/policy_gradient";
  check_one_of(place, "weight", weight, {"probability", "equal"});
  check<ConfigError>(std::isfinite(coefficient) && coefficient >= 0, place,
                     "expected coefficient to be finite and at least 0, got ", coefficient,
                     ". A negative one would learn what loses.");
  check<ConfigError>(decay >= 0 && decay < 1, place, "expected decay in [0, 1), got ", decay,
                     ". With 1 the baseline would never move.");
  check<ConfigError>(std::isfinite(temperature) && temperature > 0, place,
                     "expected temperature to be finite and above 0, got ", temperature,
                     ". Correct it.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// p = softmax(l / temperature). In training K different experts are drawn one after the other from
/// p without those before (the K largest of ln p + Gumbel noise, keyed by the token's number);
/// evaluation takes the K largest p. Weight p, or 1/K.
///
/// Learned by REINFORCE (Williams 1992; for experts Bengio et al. 2015, arXiv 1511.06297, and Clark
/// et al. 2022, arXiv 2202.01169): log_chance_T = sum_k ln(p_k / (1 - sum of p drawn before k)),
/// and the loss gets coefficient (L - b) mean_t log_chance_t (objectives/policy_loss.h) with the
/// task loss L as a constant. The baseline b is the buffer "baseline" () float64, a moving average
/// of L over steps, which end_step moves; "baseline_steps" () counts them, and in the first step,
/// which has no baseline, the term is 0.
class PolicyGradient final : public LinearRouter {
 public:
  PolicyGradient(const RouterShape& shape, const PolicyGradientRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    baseline_ = add_buffer("baseline", {}, at::kDouble);
    steps_ = add_buffer("baseline_steps", {}, at::kDouble);
    if (options.weight == "equal" && options.coefficient == 0)
      set_untrained(
          "[routing/policy_gradient] nothing trains a router with weight = \"equal\" and "
          "coefficient "
          "= 0. Set coefficient, or weight = \"probability\".");
  }

  bool estimates_gradient() const override { return options_.weight == "equal"; }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const Tensor log_p_TE = at::log_softmax(logits_TE / options_.temperature, 1);
    const Tensor p_TE = log_p_TE.exp();
    const Tensor order_TE =
        context.training ? log_p_TE.detach() + gumbel(log_p_TE.detach(), context) : logits_TE;
    const Tensor experts_TK = ops::topk(order_TE.detach(), shape_.top_k).second;
    const Tensor chosen_TK = log_p_TE.gather(1, experts_TK);
    const Tensor weights_TK =
        options_.weight == "probability"
            ? chosen_TK.exp()
            : at::full_like(chosen_TK.detach(), 1.0 / static_cast<double>(shape_.top_k));
    Routing routing = finish_fixed(experts_TK, weights_TK, logits_TE, p_TE, context);
    if (context.training && options_.coefficient > 0) {
      routing.log_chance_T = log_chance(log_p_TE, experts_TK);
      routing.expected_loss = at::where(steps_.gt(0), baseline_, NAN);
      routing.policy_coefficient = options_.coefficient;
    }
    return routing;
  }

  void end_step(const StepStatistics& statistics) override {
    if (!std::isfinite(statistics.task_loss)) return;
    const at::NoGradGuard no_grad;
    const Tensor past = at::where(steps_.gt(0), baseline_, statistics.task_loss);
    baseline_.copy_(past * options_.decay + statistics.task_loss * (1 - options_.decay));
    steps_.add_(1);
  }

 private:
  static Tensor gumbel(const Tensor& values_TE, const LayerContext& context) {
    const Tensor u_TE = uniform_like(values_TE, context).clamp(1e-20, 1 - 1e-7);
    return -(-u_TE.log()).log();
  }

  /// (T,) of drawing these experts in this order, without putting any back.
  static Tensor log_chance(const Tensor& log_p_TE, const Tensor& experts_TK) {
    Tensor left_TE = log_p_TE, out_T;
    for (int64_t k = 0; k < experts_TK.size(1); ++k) {
      const Tensor drawn_T1 = experts_TK.slice(1, k, k + 1);
      const Tensor mine_T = log_p_TE.gather(1, drawn_T1).squeeze(1);
      const Tensor now_T = k == 0 ? mine_T : mine_T - at::logsumexp(left_TE, 1);
      out_T = out_T.defined() ? out_T + now_T : now_T;
      left_TE = left_TE.scatter(1, drawn_T1, -INFINITY);
    }
    return out_T;
  }

  PolicyGradientRouter options_;
  Tensor baseline_, steps_;
};

}  // namespace

MOE_KIND(routers, policy_gradient, PolicyGradient, PolicyGradientRouter)

}  // namespace moe::routing
