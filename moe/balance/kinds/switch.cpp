// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/load_times_probability.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

struct SwitchTermOptions {
  std::string scope = "batch";
  bool normalise = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("scope", scope,
      "where f and P are taken: the micro-\"batch\" over all ranks, each \"sequence\", or "
      "\"global\": f over all "
      "micro-batches of the optimizer step so far");
    v("normalise", normalise,
      "divide each token's scores by their sum first (sigmoid scores need it)");
  }

  void validate(const std::string&) const {
    check_one_of("balance/switch", "scope", scope, {"batch", "sequence", "global"});
  }
};

/// B1 (Switch, GShard): E * sum_e f_e P_e with f_e = pairs of e / all pairs and P_e the mean
/// probability of e; 1 at balance for any K, E and T. f carries no gradient.
///
/// Probabilities are the routing's scores, by default divided by their row sum: nothing changes for
/// a softmax, and sigmoid scores become comparable. Scope "sequence" averages the loss of each
/// sequence (those of padding only take no part); the other scopes use f and P over the tokens of
/// all ranks. Sums: [c_E, p_E, tokens], or [loss, sequences]; float64.
class SwitchTerm final : public Term {
 public:
  SwitchTerm(const TermShape& shape, const SwitchTermOptions& options)
      : experts_(shape.num_experts), options_(options), by_sequence_(options.scope == "sequence") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (!routing.scores_TE.defined())
      return at::zeros({by_sequence_ ? 2 : 2 * experts_ + 1},
                       routing.experts_N.options().dtype(at::kDouble));
    const Tensor p_TE = probabilities(routing, options_.normalise);
    if (by_sequence_) return load_times_probability_by_sequence(p_TE, routing, inputs.context);
    return at::cat({routing.counts_E().to(at::kDouble), ops::column_sums(p_TE),
                    routing.valid_tokens().to(at::kDouble).reshape({1})});
  }

  Tensor value(const Tensor& sums, const RoutingContext& context) const override {
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
  SwitchTermOptions options_;
  bool by_sequence_;
};

}  // namespace

}  // namespace moe::balance

MOE_BALANCE_TERM(switch, SwitchTerm, SwitchTermOptions)
