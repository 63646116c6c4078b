// T tokens, E experts.
#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/importance.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

/// Shazeer et al. 2017, V-MoE: (std / mean)^2 over experts of the importance sum_t p_te, with the
/// population variance, over the tokens of all ranks. 0 at balance, E - 1 when one expert has all
/// probability. Sums: [p_E, tokens].
class ImportanceTerm final : public Term {
 public:
  ImportanceTerm(const TermShape& shape, const ImportanceLoss&) : Term(shape) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return squared_variation(mean_probability(sums));
  }

  double value_at_balance() const override { return 0; }
};

}  // namespace

MOE_KIND(terms, importance, ImportanceTerm, ImportanceLoss)

}  // namespace moe::balance
