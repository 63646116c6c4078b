// T tokens, E experts, G groups (rows), of S tokens each where they are equal, N pairs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include <moe/balance/load_times_probability.h>
#include <moe/ops/order.h>
#include <moe/ops/scores.h>

namespace moe::balance {

namespace {

/// (N,) int64: the row of each pair's token.
Tensor rows_of_pairs(const Routing& routing, const Runs& rows) {
  const Tensor tokens_N = routing.tokens_N();
  if (const int64_t S = rows.equal_length(); S > 0) return tokens_N.div(S, "floor");
  return rows.run_T(tokens_N.device()).index_select(0, tokens_N);
}

/// (G, E) float64 pairs of each expert in each row, dropped ones not counted.
Tensor counts_by_row(const Routing& routing, const Runs& rows) {
  const int64_t bins = routing.num_experts + 1;  // the last one counts dropped pairs
  const Tensor cells =
      ops::count_ids(rows_of_pairs(routing, rows) * bins + routing.experts_N, rows.count() * bins);
  return cells.reshape({rows.count(), bins}).slice(1, 0, routing.num_experts).to(at::kDouble);
}

}  // namespace

Tensor load_times_probability(const Tensor& counts_GE, const Tensor& p_GE, const Tensor& tokens_G,
                              const Tensor& weights_E) {
  Tensor f_GE = counts_GE / counts_GE.sum(-1, /*keepdim=*/true).clamp_min(1);
  if (weights_E.defined()) f_GE = f_GE * weights_E;
  return (f_GE * p_GE).sum(-1) / tokens_G.clamp_min(1) * static_cast<double>(p_GE.size(-1));
}

Tensor load_times_probability_by_sequence(const Routing& routing, const Routing& chosen,
                                          bool normalise, const TokenList& tokens,
                                          const Tensor& weights_E) {
  const Runs rows = tokens.rows(routing.tokens());
  const Tensor groups_G1 = rows.offsets(routing.scores_TE.device());
  const Tensor tokens_G = groups_G1.diff().to(at::kDouble);
  const Tensor p_GE = ops::probability_sums(routing.scores_TE, normalise, groups_G1);
  const Tensor loss_G =
      load_times_probability(counts_by_row(chosen, rows), p_GE, tokens_G, weights_E);
  return at::stack({loss_G.sum(), tokens_G.gt(0).sum().to(at::kDouble)});
}

}  // namespace moe::balance
