// T tokens, E experts, K choices per token.
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/ops/erfc.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include <moe/balance/kinds/load.h>
#include <moe/balance/probabilities.h>
#include <moe/ops/order.h>
#include <moe/ops/scores.h>

namespace moe {

void LoadLoss::validate(const std::string&) const {
  check_one_of("balance/load", "form", form, {"shazeer", "vmoe"});
  check<ConfigError>(noise_std >= 0, "balance/load", "expected noise_std >= 0, got ", noise_std,
                     ". Use 0 for 1/E.");
  balance::check_scope("load", scope);
}

}  // namespace moe

namespace moe::balance {

namespace {

/// (std / mean)^2 over experts, with the population variance, of the smooth load
/// sum_t Phi((l_te - threshold_te) / sigma_te): the chance that e would be among the K best of
/// token t were its noise drawn anew. 0 at balance. The sum is over the tokens of the scope.
///
/// l are the logits without noise. Thresholds come from the noisy logits: the K-th largest without
/// e (Shazeer 2017; every expert is chosen when K = E), or the K-th largest (V-MoE, Riquelme 2021).
/// Routers without noise are taken as if they had noise of `noise_std`. Gradient flows through
/// logits, thresholds and sigma.
class LoadTerm final : public ScopedTerm {
 public:
  LoadTerm(const TermShape& shape, const LoadLoss& options)
      : ScopedTerm(shape, options.scope),
        shape_(shape),
        all_(options.form == "vmoe"),
        noise_std_(options.noise_std > 0 ? options.noise_std
                                         : 1 / static_cast<double>(shape.num_experts)) {}

  double value_at_balance() const override { return 0; }

 private:
  Tensor sums_of(const Routing& routing, const Tensor& groups_G1) const override {
    return ops::probability_sums(chance(routing), /*normalise=*/false, groups_G1);
  }
  Tensor of(const Tensor& sums_GE, const Tensor& /*tokens_G*/) const override {
    return squared_variation(sums_GE);
  }

  /// (T, E) the chance that an expert is chosen when its noise is drawn anew.
  Tensor chance(const Routing& routing) const {
    const Tensor& logits_TE = routing.logits_TE;
    if (!all_ && shape_.top_k == shape_.num_experts) return at::ones_like(logits_TE);
    const Tensor noisy_TE = routing.noisy_logits_TE.defined() ? routing.noisy_logits_TE : logits_TE;
    const Tensor margin_TE = logits_TE - thresholds(noisy_TE);
    const Tensor deviations_TE = routing.noise_std_TE.defined()
                                     ? margin_TE / routing.noise_std_TE.clamp_min(1e-6)
                                     : margin_TE / noise_std_;
    return at::erfc(deviations_TE / -std::numbers::sqrt2) * 0.5;
  }

  /// (T, E), or (T, 1) when it is the same for all experts.
  Tensor thresholds(const Tensor& noisy_TE) const {
    const int64_t K = shape_.top_k;
    if (all_) return ops::topk(noisy_TE, K).first.slice(1, K - 1, K);
    const Tensor best_TK = ops::topk(noisy_TE, K + 1).first;
    const Tensor last_T1 = best_TK.slice(1, K - 1, K), next_T1 = best_TK.slice(1, K, K + 1);
    // Without an expert that is chosen, the (K+1)-th is the K-th.
    return at::where(noisy_TE.gt(next_T1), next_T1, last_T1);
  }

  TermShape shape_;
  bool all_;
  double noise_std_;
};

}  // namespace

MOE_KIND(terms, load, LoadTerm, LoadLoss)

}  // namespace moe::balance
