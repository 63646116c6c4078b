// T tokens, E experts.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/z_loss.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/scores.h>
#include <moe/ops/sums.h>

namespace moe {

void ZLoss::validate(const std::string&) const {
  check_one_of("balance/z_loss", "form", form, {"logsumexp", "plain"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// ST-MoE: mean over tokens of (logsumexp_e l_te)^2, or of sum_e l_te^2. Keeps logits small; it
/// does not look at load. Sums: [loss, tokens]; float64.
class ZLossTerm final : public Term {
 public:
  ZLossTerm(const TermShape& shape, const ZLoss& options)
      : Term(shape), plain_(options.form == "plain") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    const Tensor& logits_TE = routing.logits_TE;
    if (!logits_TE.defined()) return at::zeros({2}, routing.experts_N.options().dtype(at::kDouble));
    const Tensor loss_T = plain_ ? logits_TE.square().sum(1) : ops::log_sum_exp(logits_TE).square();
    return at::cat({ops::sum_of_all(loss_T).reshape({1}).to(at::kDouble), tokens_of(routing)});
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return sums[0] / sums[1].clamp_min(1);
  }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  bool plain_;
};

}  // namespace

MOE_KIND(terms, z_loss, ZLossTerm, ZLoss)

}  // namespace moe::balance
