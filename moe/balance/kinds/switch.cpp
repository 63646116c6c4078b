// T tokens, E experts, G groups (sequences) of S tokens.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/term.h>

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

  Tensor sums(const Routing& routing, const RoutingContext& context) const override {
    if (!routing.scores_TE.defined())
      return at::zeros({by_sequence_ ? 2 : 2 * experts_ + 1},
                       routing.experts_N.options().dtype(at::kDouble));
    const int64_t T = routing.tokens(), E = experts_;
    const int64_t S = by_sequence_ ? context.tokens_per_sequence(T) : std::max<int64_t>(T, 1),
                  G = T / S;
    const Tensor p_GE =
        probabilities(routing).reshape({G, S, E}).sum(1, /*keepdim=*/false, at::kDouble);
    const Tensor counts_GE = counts(routing, G, S).to(at::kDouble);
    const Tensor tokens_G = valid(routing).reshape({G, S}).sum(1).to(at::kDouble);
    if (!by_sequence_)
      return at::cat({counts_GE.sum(0), p_GE.sum(0), tokens_G.sum(0, /*keepdim=*/true)});
    return at::stack({loss(counts_GE, p_GE, tokens_G).sum(), tokens_G.gt(0).sum().to(at::kDouble)});
  }

  Tensor value(const Tensor& sums, const RoutingContext& context) const override {
    if (by_sequence_) return sums[0] / sums[1].clamp_min(1);
    Tensor counts_E = sums.slice(0, 0, experts_).detach();
    if (options_.scope == "global" && context.counts_so_far_E.defined())
      counts_E = counts_E + context.counts_so_far_E.to(sums.options());
    return loss(counts_E, sums.slice(0, experts_, 2 * experts_), sums[2 * experts_]);
  }

  double value_at_balance() const override { return 1; }

 private:
  /// E * sum_e f_e P_e along the last dimension; 0 where there are no tokens.
  Tensor loss(const Tensor& counts_E, const Tensor& p_E, const Tensor& tokens) const {
    const Tensor f_E = counts_E / counts_E.sum(-1, /*keepdim=*/true).clamp_min(1);
    return (f_E * p_E).sum(-1) / tokens.clamp_min(1) * static_cast<double>(experts_);
  }

  Tensor valid(const Routing& routing) const {
    if (routing.valid_T.defined()) return routing.valid_T;
    return at::ones({routing.tokens()}, routing.offsets.options().dtype(at::kBool));
  }

  /// (T, E), zeros for padding.
  Tensor probabilities(const Routing& routing) const {
    Tensor p_TE = routing.scores_TE;
    if (options_.normalise) p_TE = p_TE / p_TE.sum(1, /*keepdim=*/true).clamp_min(1e-20);
    return routing.valid_T.defined()
               ? at::where(routing.valid_T.unsqueeze(1), p_TE, at::zeros_like(p_TE))
               : p_TE;
  }

  /// (G, E) pairs of each expert in each group, dropped ones not counted.
  Tensor counts(const Routing& routing, int64_t G, int64_t S) const {
    if (G == 1) return routing.counts_E().unsqueeze(0);
    const Tensor group_N = routing.tokens_N().div(S, "floor");
    const Tensor cells =
        at::bincount(group_N * (experts_ + 1) + routing.experts_N, {}, G * (experts_ + 1));
    return cells.reshape({G, experts_ + 1}).slice(1, 0, experts_);
  }

  int64_t experts_;
  SwitchTermOptions options_;
  bool by_sequence_;
};

}  // namespace

}  // namespace moe::balance

MOE_BALANCE_TERM(switch, SwitchTerm, SwitchTermOptions)
