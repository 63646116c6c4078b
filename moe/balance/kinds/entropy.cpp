// E experts.
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/entropy.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

/// sum_e P_e ln P_e, the negative entropy of the mean probabilities over the tokens of all
/// ranks. -ln E at balance, which is its minimum; 0 when one expert has all probability. Sums:
/// [p_E, tokens].
class EntropyTerm final : public Term {
 public:
  EntropyTerm(const TermShape& shape, const EntropyLoss&)
      : Term(shape), experts_(shape.num_experts) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return p_log_p(mean_probability(sums)).sum();
  }

  double value_at_balance() const override { return -std::log(static_cast<double>(experts_)); }

 private:
  int64_t experts_;
};

}  // namespace

MOE_KIND(terms, entropy, EntropyTerm, EntropyLoss)

}  // namespace moe::balance
