// T tokens, E experts, G groups (rows of tokens).
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/probabilities.h>
#include <moe/balance/scope.h>
#include <moe/ops/scores.h>

namespace moe::balance {

void check_scope(const std::string& kind, const std::string& scope) {
  check_one_of(concat("balance/", kind), "scope", scope, {"batch", "sequence", "global"});
}

ScopedTerm::ScopedTerm(const TermShape& shape, std::string scope)
    : Term(shape), experts_(shape.num_experts), scope_(std::move(scope)) {}

Tensor ScopedTerm::sums(const BalanceInputs& inputs) const {
  const Routing& routing = inputs.routing;
  if (!routing.scores_TE.defined())
    return at::zeros({scope_ == "sequence" ? 2 : experts_ + 1},
                     routing.experts_N.options().dtype(at::kDouble));
  if (scope_ != "sequence") return at::cat({sums_of(routing, {}).squeeze(0), tokens_of(routing)});
  const Runs runs = inputs.context.tokens.rows(routing.tokens());
  const Tensor groups_G1 = runs.offsets(routing.scores_TE.device());
  const Tensor tokens_G = groups_G1.diff().to(at::kDouble), full_G = tokens_G.gt(0);
  // Rows without a token have no part in the mean.
  const Tensor loss_G = of(sums_of(routing, groups_G1), tokens_G) * full_G.to(at::kDouble);
  return at::stack({loss_G.sum(), full_G.sum().to(at::kDouble)});
}

Tensor ScopedTerm::value(const Tensor& sums, const LayerContext&) const {
  if (scope_ == "sequence") return sums[0] / sums[1].clamp_min(1);
  return of(sums.slice(0, 0, experts_), sums[experts_]);
}

Tensor ProbabilityTerm::sums_of(const Routing& routing, const Tensor& groups_G1) const {
  return ops::probability_sums(routing.scores_TE, /*normalise=*/true, groups_G1);
}

Tensor ProbabilityTerm::of(const Tensor& sums_GE, const Tensor& tokens_G) const {
  const Tensor tokens_G1 = tokens_G.unsqueeze(-1);
  return of_mean(at::where(tokens_G1.gt(0), sums_GE / tokens_G1.clamp_min(1), 1 / experts()));
}

}  // namespace moe::balance
