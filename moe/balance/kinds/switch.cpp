// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/switch.h>
#include <moe/balance/load_times_probability.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/scores.h>

namespace moe {

void SwitchLoss::validate(const std::string&) const {
  check_one_of("balance/switch", "scope", scope, {"batch", "sequence", "global"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Switch, GShard: E * sum_e f_e P_e with f_e = pairs of e / all pairs and P_e the mean
/// probability of e; 1 at balance for any K, E and T. f carries no gradient.
///
/// Probabilities are the routing's scores, by default divided by their row sum: nothing changes for
/// a softmax, and sigmoid scores become comparable. Scope "sequence" averages the loss of each
/// row of tokens; the other scopes use f and P over the tokens of
/// all ranks. Sums: [c_E, p_E, tokens], or [loss, rows]; float64.
class SwitchTerm final : public Term {
 public:
  SwitchTerm(const TermShape& shape, const SwitchLoss& options)
      : Term(shape),
        experts_(shape.num_experts),
        options_(options),
        by_sequence_(options.scope == "sequence") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (!routing.scores_TE.defined())
      return at::zeros({by_sequence_ ? 2 : 2 * experts_ + 1},
                       routing.experts_N.options().dtype(at::kDouble));
    if (by_sequence_)
      return load_times_probability_by_sequence(routing, routing, options_.normalise,
                                                inputs.context.tokens);
    const Tensor p_1E = ops::probability_sums(routing.scores_TE, options_.normalise);
    return at::cat({routing.counts_E().to(at::kDouble), p_1E.squeeze(0), tokens_of(routing)});
  }

  Tensor value(const Tensor& sums, const LayerContext& context) const override {
    if (by_sequence_) return sums[0] / sums[1].clamp_min(1);
    Tensor counts_E = sums.slice(0, 0, experts_).detach();
    if (options_.scope == "global" && context.counts_so_far_E.defined())
      counts_E = counts_E + context.counts_so_far_E.to(sums.options());
    return load_times_probability(counts_E, sums.slice(0, experts_, 2 * experts_),
                                  sums[2 * experts_]);
  }

  double value_at_balance() const override { return 1; }

 private:
  int64_t experts_;
  SwitchLoss options_;
  bool by_sequence_;
};

}  // namespace

MOE_KIND(terms, switch, SwitchTerm, SwitchLoss)

}  // namespace moe::balance
