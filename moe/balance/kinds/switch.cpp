// T tokens, E experts.
#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/switch.h>
#include <moe/balance/load_times_probability.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/scores.h>

namespace moe {

void SwitchLoss::validate(const std::string&) const {
  check_one_of("balance/switch", "scope", scope, {"batch", "sequence", "global"});
  check_one_of("balance/switch", "counts", counts, {"all", "first"});
  check<ConfigError>(
      counts == "all" || scope != "global", "balance/switch",
      "expected counts = \"all\" with scope = \"global\", which goes on from the load "
      "of all choices, got \"first\". Set scope = \"batch\".");
  check<ConfigError>(free_weight > 0 && free_weight <= 1, "balance/switch",
                     "expected free_weight in (0, 1], got ", free_weight, ". MoE++ uses 0.75.");
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Switch, GShard: E * sum_e w_e f_e P_e with f_e = pairs of e / all pairs and P_e the mean
/// probability of e; w_e = 1, so 1 at balance for any K, E and T. f carries no gradient.
///
/// w_e is the cost of e over the mean cost by_cost (HMoE, Wang et al. 2024: the parameter penalty
/// E sum_e M_e P_e with M_e the pairs of e times its width is K times the mean width of this, with
/// f over tokens): still 1 at balance. Of experts without a product it is free_weight (MoE++, Jin
/// et al. 2024): (F + free_weight Z) / E at balance, with F that have one and Z that do not.
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
        by_sequence_(options.scope == "sequence"),
        weights_(weights_of(shape, options)) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (!routing.scores_TE.defined())
      return at::zeros({by_sequence_ ? 2 : 2 * experts_ + 1},
                       routing.experts_N.options().dtype(at::kDouble));
    const Routing counted = options_.counts == "first" ? first_choices(routing) : routing;
    if (by_sequence_)
      return load_times_probability_by_sequence(routing, counted, options_.normalise,
                                                inputs.context.tokens, weights_on(routing));
    const Tensor p_1E = ops::probability_sums(routing.scores_TE, options_.normalise);
    return at::cat({counted.counts_E().to(at::kDouble), p_1E.squeeze(0), tokens_of(routing)});
  }

  Tensor value(const Tensor& sums, const LayerContext& context) const override {
    if (by_sequence_) return sums[0] / sums[1].clamp_min(1);
    Tensor counts_E = sums.slice(0, 0, experts_).detach();
    if (options_.scope == "global" && context.counts_so_far_E.defined())
      counts_E = counts_E + context.counts_so_far_E.to(sums.options());
    return load_times_probability(counts_E, sums.slice(0, experts_, 2 * experts_),
                                  sums[2 * experts_], weights_like(sums));
  }

  double value_at_balance() const override {
    double out = weights_.empty() ? 1 : 0;
    for (const double weight : weights_) out += weight / static_cast<double>(experts_);
    return out;
  }

 private:
  /// w_E; empty where all are 1.
  static std::vector<double> weights_of(const TermShape& shape, const SwitchLoss& options) {
    const auto E = static_cast<size_t>(shape.num_experts),
               Z = static_cast<size_t>(shape.free_experts);
    const bool by_cost = options.by_cost && !shape.costs.empty();
    if (!by_cost && (options.free_weight == 1 || Z == 0)) return {};
    std::vector<double> out(E, 1);
    if (by_cost) std::copy(shape.costs.begin(), shape.costs.end(), out.begin());
    if (Z > 0)
      std::fill(out.end() - static_cast<std::ptrdiff_t>(Z), out.end(), options.free_weight);
    return out;
  }
  /// (E,) float64; undefined where all are 1.
  Tensor weights_like(const Tensor& sums) const {
    return weights_.empty() ? Tensor() : at::tensor(weights_, at::kDouble).to(sums.options());
  }
  Tensor weights_on(const Routing& routing) const {
    return weights_.empty() ? Tensor()
                            : at::tensor(weights_, at::kDouble).to(routing.experts_N.device());
  }

  int64_t experts_;
  SwitchLoss options_;
  bool by_sequence_;
  std::vector<double> weights_;
};

}  // namespace

MOE_KIND(terms, switch, SwitchTerm, SwitchLoss)

}  // namespace moe::balance
