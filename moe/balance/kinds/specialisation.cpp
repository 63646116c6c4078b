// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

/// B11: mean_t H(p_t) - H(mean_t p_t), minus the mutual information of expert and token in nats,
/// over the tokens of all ranks: each token sure of its experts, all experts in use. 0 when every
/// token has the same probabilities (so at balance, and at collapse); its minimum, -ln E, when
/// every token is sure and the experts are used evenly. Sums: [p_E, tokens, sum_t -H(p_t)].
class SpecialisationTerm final : public Term {
 public:
  SpecialisationTerm(const TermShape& shape, const NoOptions&) : experts_(shape.num_experts) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    const Tensor totals = probability_sums(routing);
    const Tensor certainty = routing.scores_TE.defined()
                                 ? p_log_p(probabilities(routing)).sum(at::kDouble).reshape({1})
                                 : at::zeros({1}, totals.options());
    return at::cat({totals, certainty});
  }

  Tensor value(const Tensor& sums, const RoutingContext&) const override {
    const Tensor tokens = sums[experts_], certainty = sums[experts_ + 1] / tokens.clamp_min(1);
    const Tensor evenness = p_log_p(mean_probability(sums.slice(0, 0, experts_ + 1))).sum();
    // Without tokens the mean probabilities are even, and nothing is known of any token.
    return (evenness - certainty) * tokens.gt(0).to(sums.scalar_type());
  }

  double value_at_balance() const override { return 0; }

 private:
  int64_t experts_;
};

}  // namespace

}  // namespace moe::balance

MOE_BALANCE_TERM(specialisation, SpecialisationTerm, NoOptions)
