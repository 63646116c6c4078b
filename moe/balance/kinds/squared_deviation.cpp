// E experts.
#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/squared_deviation.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe {

void SquaredDeviationLoss::validate(const std::string&) const {
  check_one_of("balance/squared_deviation", "form", form, {"sum", "mean"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// sum_e (P_e - 1/E)^2, or that divided by E; P_e is the mean probability of e over the tokens
/// of all ranks. 0 at balance, 1 - 1/E (sum) when one expert has all probability. Sums: [p_E,
/// tokens].
class SquaredDeviationTerm final : public Term {
 public:
  SquaredDeviationTerm(const TermShape& shape, const SquaredDeviationLoss& options)
      : Term(shape),
        even_(1 / static_cast<double>(shape.num_experts)),
        mean_(options.form == "mean") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    const Tensor squared_E = (mean_probability(sums) - even_).square();
    return mean_ ? squared_E.mean() : squared_E.sum();
  }

  double value_at_balance() const override { return 0; }

 private:
  double even_;
  bool mean_;
};

}  // namespace

MOE_KIND(terms, squared_deviation, SquaredDeviationTerm, SquaredDeviationLoss)

}  // namespace moe::balance
