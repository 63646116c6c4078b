// T tokens, E experts, G groups of tokens.
#include <moe/balance/kinds/importance.h>
#include <moe/balance/probabilities.h>

namespace moe {

void ImportanceLoss::validate(const std::string&) const {
  balance::check_scope("importance", scope);
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Shazeer et al. 2017, V-MoE: (std / mean)^2 over experts of the importance sum_t p_te, with the
/// population variance, over the tokens of the scope. 0 at balance, E - 1 when one expert has all
/// probability.
class ImportanceTerm final : public ProbabilityTerm {
 public:
  ImportanceTerm(const TermShape& shape, const ImportanceLoss& options)
      : ProbabilityTerm(shape, options.scope) {}

  double value_at_balance() const override { return 0; }

 private:
  Tensor of_mean(const Tensor& p_GE) const override { return squared_variation(p_GE); }
};

}  // namespace

MOE_KIND(terms, importance, ImportanceTerm, ImportanceLoss)

}  // namespace moe::balance
