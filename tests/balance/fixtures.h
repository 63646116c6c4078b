#pragma once
// What tests of balance terms share. T tokens, E experts, K choices per token.

#include <memory>
#include <string>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>
#include <vector>

#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/term.h>
#include <moe/ops/order.h>

namespace moe::test::balance {

constexpr int64_t kTokens = 6, kExperts = 4, kChoices = 2;

inline std::shared_ptr<moe::balance::Term> make(const std::string& kind, const Table& settings = {},
                                                int64_t experts = kExperts,
                                                int64_t top_k = kChoices) {
  return initialised(
      moe::balance::terms().at(kind).make({.num_experts = experts, .top_k = top_k}, settings));
}

inline Table setting(const std::string& key, Value value) {
  Table table;
  table.set(key, std::move(value));
  return table;
}

/// The K best of softmax(logits_TE).
inline Routing routing_of(const Tensor& logits_TE, int64_t top_k = kChoices) {
  const Tensor scores_TE = at::softmax(logits_TE, 1);
  const auto [weights_TK, experts_TK] = ops::topk(scores_TE, top_k);
  Routing routing = fixed_choices(experts_TK, weights_TK, logits_TE.size(1));
  routing.logits_TE = logits_TE;
  routing.scores_TE = scores_TE;
  routing.domain_logits_TM = logits_TE;  // for terms on domains, where a context names them
  return routing;
}

inline Tensor logits_of(uint64_t seed, int64_t tokens = kTokens) {
  return spread(normal({tokens, kExperts}, seed), 1e-3);
}

/// Every token sure of expert 0.
inline Routing collapsed(int64_t tokens = kTokens) {
  Tensor logits_TE = at::zeros({tokens, kExperts}, at::kDouble);
  logits_TE.select(1, 0).fill_(1000);
  return routing_of(logits_TE);
}

inline Tensor value_of(const moe::balance::Term& term, const moe::balance::BalanceInputs& inputs) {
  return term.value(term.sums(inputs).to(at::kDouble), inputs.context);
}

inline Tensor value_of(const moe::balance::Term& term, const Routing& routing,
                       const LayerContext& context = {}) {
  return value_of(term, moe::balance::BalanceInputs{routing, context});
}

/// A context whose rows have these lengths.
inline LayerContext rows_of(const std::vector<int64_t>& lengths) {
  return {{}, {.sequences = Sequences::of_lengths(lengths)}};
}

}  // namespace moe::test::balance
