#pragma once
// Which tokens a term looks at together. T tokens, E experts, G groups (rows of tokens).

#include <string>

#include <moe/balance/term.h>

namespace moe::balance {

/// "batch": the tokens of the call, over all ranks; "sequence": each row of tokens, then the mean
/// over rows; "global": also the tokens of the earlier micro-batches of the optimizer step.
template <class Options, class Visitor>
void scope_field(Options& o, Visitor& v) {
  v("scope", o.scope,
    "which tokens are looked at together: the micro-\"batch\" over all ranks, each \"sequence\" "
    "(then the mean), or \"global\": all micro-batches of the optimizer step so far");
}

/// Throws ConfigError for another scope.
void check_scope(const std::string& kind, const std::string& scope);

/// A term f(S, tokens) of S_e = sum_t s_te, with a row of numbers s for each token.
///
/// Sums: [S, tokens], or of scope "sequence" [sum of f over rows with a token, their number];
/// float64. Over micro-batches of a step f is of the sums of all so far, whose gradient reaches
/// this one's tokens alone.
class ScopedTerm : public Term {
 public:
  ScopedTerm(const TermShape& shape, std::string scope);

  Tensor sums(const BalanceInputs& inputs) const final;
  Tensor value(const Tensor& sums, const LayerContext& context) const final;
  bool over_step() const final { return scope_ == "global"; }

 protected:
  /// (G, E) float64 sums over the tokens of each group (ops/scores.h); undefined where the routing
  /// has no scores.
  virtual Tensor sums_of(const Routing& routing, const Tensor& groups_G1) const = 0;
  /// f along the last dimension of `sums` (E,) or (G, E) of so many tokens, () or (G,).
  virtual Tensor of(const Tensor& sums_GE, const Tensor& tokens_G) const = 0;

  double experts() const { return static_cast<double>(experts_); }

 private:
  int64_t experts_;
  std::string scope_;
};

/// A function of the mean probabilities P_e, the routing's scores divided by their row sum; 1/E
/// where there are no tokens.
class ProbabilityTerm : public ScopedTerm {
 public:
  using ScopedTerm::ScopedTerm;

 protected:
  Tensor sums_of(const Routing& routing, const Tensor& groups_G1) const final;
  Tensor of(const Tensor& sums_GE, const Tensor& tokens_G) const final;
  /// f along the last dimension.
  virtual Tensor of_mean(const Tensor& p_GE) const = 0;
};

}  // namespace moe::balance
