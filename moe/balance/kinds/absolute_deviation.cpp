// E experts.
#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/absolute_deviation.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

/// sum_e |P_e - 1/E| with P_e the mean probability of e over the tokens of all ranks. 0 at
/// balance, where its gradient is 0 too; 2 - 2/E when one expert has all probability. Sums: [p_E,
/// tokens].
class AbsoluteDeviationTerm final : public Term {
 public:
  AbsoluteDeviationTerm(const TermShape& shape, const AbsoluteDeviationLoss&)
      : Term(shape), even_(1 / static_cast<double>(shape.num_experts)) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return (mean_probability(sums) - even_).abs().sum();
  }

  double value_at_balance() const override { return 0; }

 private:
  double even_;
};

}  // namespace

MOE_KIND(terms, absolute_deviation, AbsoluteDeviationTerm, AbsoluteDeviationLoss)

}  // namespace moe::balance
