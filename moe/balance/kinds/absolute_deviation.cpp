// E experts, G groups of tokens.
#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/absolute_deviation.h>

namespace moe {

void AbsoluteDeviationLoss::validate(const std::string&) const {
  balance::check_scope("absolute_deviation", scope);
}

}  // namespace moe

namespace moe::balance {

namespace {

/// sum_e |P_e - 1/E| with P_e the mean probability of e over the tokens of the scope. 0 at
/// balance, where its gradient is 0 too; 2 - 2/E when one expert has all probability.
class AbsoluteDeviationTerm final : public ProbabilityTerm {
 public:
  AbsoluteDeviationTerm(const TermShape& shape, const AbsoluteDeviationLoss& options)
      : ProbabilityTerm(shape, options.scope) {}

  double value_at_balance() const override { return 0; }

 private:
  Tensor of_mean(const Tensor& p_GE) const override { return (p_GE - 1 / experts()).abs().sum(-1); }
};

}  // namespace

MOE_KIND(terms, absolute_deviation, AbsoluteDeviationTerm, AbsoluteDeviationLoss)

}  // namespace moe::balance
