// E experts, G groups of tokens.
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/balance/kinds/entropy.h>
#include <moe/balance/probabilities.h>

namespace moe {

void EntropyLoss::validate(const std::string&) const {
  balance::check_scope("entropy", scope);
}

}  // namespace moe

namespace moe::balance {

namespace {

/// sum_e P_e ln P_e, the negative entropy of the mean probabilities over the tokens of the scope.
/// -ln E at balance, which is its minimum; 0 when one expert has all probability.
class EntropyTerm final : public ProbabilityTerm {
 public:
  EntropyTerm(const TermShape& shape, const EntropyLoss& options)
      : ProbabilityTerm(shape, options.scope) {}

  double value_at_balance() const override { return -std::log(experts()); }

 private:
  Tensor of_mean(const Tensor& p_GE) const override { return p_log_p(p_GE).sum(-1); }
};

}  // namespace

MOE_KIND(terms, entropy, EntropyTerm, EntropyLoss)

}  // namespace moe::balance
