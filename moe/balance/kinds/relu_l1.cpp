// T tokens, E experts, K experts a token on average.
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/relu_l1.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/scores.h>

namespace moe {

void ReluL1Loss::validate(const std::string&) const {
  check<ConfigError>(std::isfinite(start) && start > 0, "balance/relu_l1",
                     "expected start to be finite and above 0, got ", start,
                     ". ReMoE starts from 1e-8.");
  check<ConfigError>(std::isfinite(factor) && factor > 1, "balance/relu_l1",
                     "expected factor to be finite and above 1, got ", factor, ". ReMoE uses 1.2.");
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Far more or less says nothing; float32 holds both, times any loss.
constexpr double kLeastLambda = 1e-30, kMostLambda = 1e10;

/// ReMoE (Wang et al. 2024, arXiv 2412.14711): lambda / T sum_t sum_e f_e g_te, of the gates g =
/// relu(l) that are the scores of a relu router. f_e = E c_e / (K T), with c_e the tokens of expert
/// e, weighs an expert by its load; 1 with balanced = false.
///
/// lambda is the buffer "lambda" () float64. After each step lambda *= factor^sign(S* - S), where S
/// = 1 - sum c / (T E) is the share of gates that were closed in all of the step's tokens and S* =
/// 1 - K/E. Each layer has a lambda of its own (ReMoE: one for all). Gradient flows through the
/// gates only. Sums: [sum_t g_te (E), c_e (E), tokens]; float64.
class ReluL1Term final : public Term {
 public:
  ReluL1Term(const TermShape& shape, const ReluL1Loss& options)
      : Term(shape), experts_(shape.num_experts), top_k_(shape.top_k), options_(options) {
    const auto start = [value = options.start](const Tensor& lambda, const RandomStream&) {
      Tensor(lambda).fill_(value);
    };
    lambda_ = add_buffer("lambda", {}, at::kDouble, {.start = start});
  }

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    const auto options = routing.experts_N.options().dtype(at::kDouble);
    if (!routing.scores_TE.defined()) return at::zeros({2 * experts_ + 1}, options);
    const Tensor gates_E =
        ops::probability_sums(routing.scores_TE, /*normalise=*/false).reshape({experts_});
    return at::cat({gates_E, routing.counts_E().to(at::kDouble), tokens_of(routing)});
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    const Tensor tokens = sums[2 * experts_].clamp_min(1);
    const Tensor mean_E = sums.slice(0, 0, experts_) / tokens;
    const Tensor lambda = lambda_.to(sums.options());
    if (!options_.balanced) return mean_E.sum() * lambda;
    const Tensor counts_E = sums.slice(0, experts_, 2 * experts_);
    const Tensor load_E =
        counts_E / tokens * (static_cast<double>(experts_) / static_cast<double>(top_k_));
    return (load_E * mean_E).sum() * lambda;
  }

  bool drives_choices() const override { return true; }
  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

  void end_step(const StepStatistics& statistics) override {
    const double pairs = statistics.counts_E.sum().to(at::kDouble).item<double>();
    check(statistics.tokens > 0 || pairs == 0, "balance/relu_l1",
          "expected the tokens of the step beside its ", pairs,
          " pairs, got none. Set StepStatistics::tokens, over ranks and micro-batches.");
    if (statistics.tokens == 0) return;
    const at::NoGradGuard no_grad;
    const double mean = pairs / static_cast<double>(statistics.tokens);
    const auto target = static_cast<double>(top_k_);  // S* - S = (mean - K) / E
    if (mean == target) return;
    lambda_.mul_(mean > target ? options_.factor : 1 / options_.factor)
        .clamp_(kLeastLambda, kMostLambda);
  }

 private:
  int64_t experts_, top_k_;
  ReluL1Loss options_;
  Tensor lambda_;
};

}  // namespace

MOE_KIND(terms, relu_l1, ReluL1Term, ReluL1Loss)

}  // namespace moe::balance
