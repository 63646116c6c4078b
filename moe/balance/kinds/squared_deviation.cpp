// E experts, G groups of tokens.
#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/squared_deviation.h>

namespace moe {

void SquaredDeviationLoss::validate(const std::string&) const {
  check_one_of("balance/squared_deviation", "form", form, {"sum", "mean"});
  balance::check_scope("squared_deviation", scope);
}

}  // namespace moe

namespace moe::balance {

namespace {

/// sum_e (P_e - 1/E)^2, or that divided by E; P_e is the mean probability of e over the tokens
/// of the scope. 0 at balance, 1 - 1/E (sum) when one expert has all probability.
class SquaredDeviationTerm final : public ProbabilityTerm {
 public:
  SquaredDeviationTerm(const TermShape& shape, const SquaredDeviationLoss& options)
      : ProbabilityTerm(shape, options.scope), mean_(options.form == "mean") {}

  double value_at_balance() const override { return 0; }

 private:
  Tensor of_mean(const Tensor& p_GE) const override {
    const Tensor squared_GE = (p_GE - 1 / experts()).square();
    return mean_ ? squared_GE.mean(-1) : squared_GE.sum(-1);
  }

  bool mean_;
};

}  // namespace

MOE_KIND(terms, squared_deviation, SquaredDeviationTerm, SquaredDeviationLoss)

}  // namespace moe::balance
