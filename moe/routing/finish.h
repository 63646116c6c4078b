#pragma once
// T tokens, E experts, K choices per token.

#include <string>

#include <moe/ops/choice.h>
#include <moe/routing/router.h>

namespace moe::routing {

/// The last step of every rule that gives each token K experts: a Routing of `experts_TK` (int64)
/// and `weights_TK` with the context's token numbers, and the (T, E) logits and scores that losses
/// look at.
Routing finish_fixed(const Tensor& experts_TK, const Tensor& weights_TK, const Tensor& logits_TE,
                     const Tensor& scores_TE, const LayerContext& context);

/// The same for rules that leave some of the K out: token t keeps the pairs where kept_TK (bool)
/// holds, in the order of columns.
Routing finish_ragged(const Tensor& experts_TK, const Tensor& weights_TK, const Tensor& kept_TK,
                      const Tensor& logits_TE, const Tensor& scores_TE,
                      const LayerContext& context);

/// The same for rules that keep the best of a token's choices as far as kept_TK (bool) says, and
/// the very best always, which kept_TK is told. The weights are the choices' own, or divided by
/// their sum over what is kept.
Routing finish_best(const ops::Choices& choices, Tensor kept_TK, bool renormalise,
                    const LayerContext& context);

/// One choice divided by its own sum is 1 whatever the router says: for Router::set_untrained, that
/// nothing will train it. `settings` are those that leave the weight as it is ("renormalise =
/// false"); "" where there are none. "" for weights that are not constant.
std::string why_constant(const RouterShape& shape, bool weights_sum_to_one,
                         const std::string& place, const std::string& settings);

}  // namespace moe::routing
