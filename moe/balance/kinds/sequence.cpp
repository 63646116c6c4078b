// T tokens, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/sequence.h>
#include <moe/balance/load_times_probability.h>
#include <moe/balance/term.h>
#include <moe/ops/order.h>

namespace moe {

void SequenceLoss::validate(const std::string&) const {
  check_one_of("balance/sequence", "counts", counts, {"routing", "scores"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// DeepSeek-V3: E * sum_e f_e P_e of each row of tokens, averaged over the rows of all ranks;
/// f_e = pairs of e / all pairs of the row, P_e the mean over its tokens of the scores divided
/// by their row sum. 1 at balance for any K, E and T. f carries no gradient. Sums: [loss, rows].
class SequenceTerm final : public Term {
 public:
  SequenceTerm(const TermShape& shape, const SequenceLoss& options)
      : Term(shape), top_k_(shape.top_k), by_score_(options.counts == "scores") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (!routing.scores_TE.defined())
      return at::zeros({2}, routing.experts_N.options().dtype(at::kDouble));
    return load_times_probability_by_sequence(routing, by_score_ ? best_by_score(routing) : routing,
                                              /*normalise=*/true, inputs.context.tokens);
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return sums[0] / sums[1].clamp_min(1);
  }

  double value_at_balance() const override { return 1; }

 private:
  /// What the scores alone would choose.
  Routing best_by_score(const Routing& routing) const {
    const auto [weights_TK, experts_TK] = ops::topk(routing.scores_TE.detach(), top_k_);
    return fixed_choices(experts_TK, weights_TK, routing.num_experts);
  }

  int64_t top_k_;
  bool by_score_;
};

}  // namespace

MOE_KIND(terms, sequence, SequenceTerm, SequenceLoss)

}  // namespace moe::balance
