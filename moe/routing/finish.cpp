// T tokens, E experts, K choices per token, N pairs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/take.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/routing/finish.h>

namespace moe::routing {

Routing finish_fixed(const Tensor& experts_TK, const Tensor& weights_TK, const Tensor& logits_TE,
                     const Tensor& scores_TE, const LayerContext& context) {
  Routing routing = fixed_choices(experts_TK, weights_TK, logits_TE.size(1));
  routing.logits_TE = logits_TE;
  routing.scores_TE = scores_TE;
  routing.first_token = context.tokens.first_token;
  return routing;
}

Routing finish_ragged(const Tensor& experts_TK, const Tensor& weights_TK, const Tensor& kept_TK,
                      const Tensor& logits_TE, const Tensor& scores_TE,
                      const LayerContext& context) {
  const int64_t T = experts_TK.size(0), K = experts_TK.size(1);
  const Tensor cell_N = kept_TK.reshape({T * K}).nonzero().squeeze(1);
  Routing routing;
  routing.num_experts = logits_TE.size(1);
  // Of a view, as the ids of all experts for each token are, nothing is copied but what is taken.
  routing.experts_N = at::take(experts_TK, cell_N);
  routing.weights_N = weights_TK.reshape({T * K}).index_select(0, cell_N);
  routing.offsets = at::zeros({T + 1}, cell_N.options());
  routing.offsets.slice(0, 1).copy_(at::cumsum(kept_TK.sum(1), 0));
  routing.logits_TE = logits_TE;
  routing.scores_TE = scores_TE;
  routing.first_token = context.tokens.first_token;
  return routing;
}

Routing finish_best(const ops::Choices& choices, Tensor kept_TK, bool renormalise,
                    const LayerContext& context) {
  kept_TK.select(1, 0).fill_(true);
  const Tensor& p_TK = choices.weights_TK;
  const Tensor weights_TK = renormalise ? p_TK / (p_TK * kept_TK).sum(1, /*keepdim=*/true) : p_TK;
  Routing routing = finish_ragged(choices.experts_TK, weights_TK, kept_TK, choices.logits_TE,
                                  choices.scores_TE, context);
  routing.weights_are_shares = renormalise;
  return routing;
}

std::string why_constant(const RouterShape& shape, bool weights_sum_to_one,
                         const std::string& place, const std::string& settings) {
  if (shape.top_k > 1 || shape.num_experts == 1 || !weights_sum_to_one) return "";
  return concat(
      '[', place,
      "] one choice divided by its own sum weighs 1 for every token, so the task loss cannot train "
      "the router. ",
      settings.empty() ? "Raise top_k."
                       : concat("Keep the weight as it is (", settings, "), or raise top_k."));
}

}  // namespace moe::routing
