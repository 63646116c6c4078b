// E experts.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>

#include <moe/balance/kinds/usage_variance.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe {

void UsageVarianceLoss::validate(const std::string&) const {
  check_one_of("balance/usage_variance", "average", average, {"exponential", "cumulative"});
  check<ConfigError>(decay >= 0 && decay < 1, "balance/usage_variance",
                     "expected decay in [0, 1), got ", decay,
                     ". With 1 the present would have no part in the loss.");
}

}  // namespace moe

namespace moe::balance {

namespace {

/// mean_e (u_e - mean u)^2 of the running usage u_e = (1 - a) h_e + a P_e, where P_e is the
/// mean probability of e over this call's tokens of all ranks and h_e the usage of earlier steps. 0
/// at balance.
///
/// h is the buffer "usage" (E) float32, shares that sum to 1 and start even; end_step moves it by
/// the share of pairs that each expert had: h_e += a (c_e / sum c - h_e). a = 1 - decay, or 1 / (n
/// + 1) after n steps (buffer "steps") for the cumulative average. Steps without pairs do not
/// count. Gradient flows through P only. Sums: [p_E, tokens].
class UsageVarianceTerm final : public Term {
 public:
  UsageVarianceTerm(const TermShape& shape, const UsageVarianceLoss& options)
      : Term(shape), experts_(shape.num_experts), options_(options) {
    const auto even = [E = experts_](const Tensor& usage_E, const RandomStream&) {
      Tensor(usage_E).fill_(1 / static_cast<double>(E));
    };
    usage_E_ = add_buffer("usage", {experts_}, at::kFloat, {.per_expert = true, .start = even});
    steps_ = add_buffer("steps", {}, at::kFloat);
  }

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    const Tensor past_E = usage_E_.to(sums.options());
    const Tensor usage_E =
        past_E + (mean_probability(sums) - past_E) * weight_of_present().to(sums.options());
    return (usage_E - usage_E.mean()).square().mean();
  }

  double value_at_balance() const override { return 0; }

  void end_step(const StepStatistics& statistics) override {
    check(statistics.counts_E.dim() == 1 && statistics.counts_E.size(0) == experts_,
          "balance/usage_variance", "expected one count for each of ", experts_,
          " experts, got shape ", statistics.counts_E.sizes(),
          ". Add the counts of this layer over ranks and micro-batches.");
    const at::NoGradGuard no_grad;
    const Tensor counts_E = statistics.counts_E.to(usage_E_.device(), at::kDouble);
    const Tensor pairs = counts_E.sum(), counted = pairs.gt(0).to(at::kDouble);
    const Tensor step_E =
        (counts_E / pairs.clamp_min(1) - usage_E_) * (weight_of_present() * counted);
    usage_E_.add_(step_E.to(usage_E_.scalar_type()));
    steps_.add_(counted.to(steps_.scalar_type()));
  }

 private:
  /// () float64.
  Tensor weight_of_present() const {
    const Tensor steps = steps_.to(at::kDouble);
    if (options_.average == "cumulative") return 1 / (steps + 1);
    return at::full({}, 1 - options_.decay, steps.options());
  }

  int64_t experts_;
  UsageVarianceLoss options_;
  Tensor usage_E_, steps_;
};

}  // namespace

MOE_KIND(terms, usage_variance, UsageVarianceTerm, UsageVarianceLoss)

}  // namespace moe::balance
