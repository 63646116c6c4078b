// T tokens, E experts.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/token_entropy.h>
#include <moe/balance/probabilities.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

/// mean_t H(p_t) = -1/T sum_t sum_e p_te ln p_te over the tokens of all ranks (Huang et al. 2024):
/// 0 when every token is sure of one expert, ln E when none prefers any. It makes routers whose
/// tokens say how many experts they need (top_p, threshold) ask for few; it does not look at load,
/// for which another term stands beside it. Sums: [sum_t H(p_t), tokens].
class TokenEntropyTerm final : public Term {
 public:
  TokenEntropyTerm(const TermShape& shape, const TokenEntropyLoss&)
      : Term(shape), experts_(shape.num_experts) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (!routing.scores_TE.defined())
      return at::zeros({2}, routing.experts_N.options().dtype(at::kDouble));
    const Tensor entropy = -ops::sum_of_all(p_log_p(probabilities(routing)));
    return at::cat({entropy.reshape({1}), tokens_of(routing)});
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return sums[0] / sums[1].clamp_min(1);
  }

  double value_at_balance() const override { return std::log(static_cast<double>(experts_)); }

 private:
  int64_t experts_;
};

}  // namespace

MOE_KIND(terms, token_entropy, TokenEntropyTerm, TokenEntropyLoss)

}  // namespace moe::balance
