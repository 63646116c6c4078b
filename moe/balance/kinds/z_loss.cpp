// T tokens, E experts.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/term.h>
#include <moe/ops/scores.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

struct ZLossOptions {
  std::string form = "logsumexp";

  template <class Visitor>
  void fields(Visitor& v) {
    v("form", form,
      "\"logsumexp\": (ln sum_e exp l_te)^2 (ST-MoE); \"plain\": sum_e l_te^2; a mean over tokens");
  }

  void validate(const std::string&) const {
    check_one_of("balance/z_loss", "form", form, {"logsumexp", "plain"});
  }
};

/// B7: mean over real tokens of (logsumexp_e l_te)^2, or of sum_e l_te^2. Keeps logits small; it
/// does not look at load. Sums: [loss, tokens]; float64.
class ZLossTerm final : public Term {
 public:
  ZLossTerm(const TermShape&, const ZLossOptions& options) : plain_(options.form == "plain") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    const Tensor& logits_TE = routing.logits_TE;
    if (!logits_TE.defined()) return at::zeros({2}, routing.experts_N.options().dtype(at::kDouble));
    Tensor loss_T = plain_ ? logits_TE.square().sum(1) : ops::log_sum_exp(logits_TE).square();
    if (routing.valid_T.defined())
      loss_T = at::where(routing.valid_T, loss_T, at::zeros_like(loss_T));
    return at::stack({ops::sum_of_all(loss_T), routing.valid_tokens().to(at::kDouble)});
  }

  Tensor value(const Tensor& sums, const RoutingContext&) const override {
    return sums[0] / sums[1].clamp_min(1);
  }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  bool plain_;
};

}  // namespace

}  // namespace moe::balance

MOE_BALANCE_TERM(z_loss, ZLossTerm, ZLossOptions)
