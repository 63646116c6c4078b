// T tokens, N pairs, E experts, G groups.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/base/error.h>
#include <moe/capacity/capacity.h>
#include <moe/capacity/weights.h>
#include <moe/ops/random_fill.h>
#include <moe/ops/rounding.h>
#include <moe/ops/slots.h>

namespace moe::capacity {

namespace {

constexpr const char* kPlaceOfCapacity = "capacity";
/// The part of Purpose::kRouting that orders tokens; routers draw from the parts from 0 on.
constexpr uint32_t kOrderPart = ~uint32_t{0};

/// (T, E) what the selection looked at: the scores, with the noise where there was any. Noise lies
/// on logits that a softmax follows.
Tensor selection_scores(const Routing& routing) {
  check(routing.scores_TE.defined(), kPlaceOfCapacity,
        "expected a router with scores for overflow = \"next_best\", got a routing without. Use "
        "overflow = \"drop\", or a router that scores experts.");
  return routing.noisy_logits_TE.defined() ? at::softmax(routing.noisy_logits_TE, 1)
                                           : routing.scores_TE;
}

}  // namespace

Capacity::Capacity(const CapacityShape& shape, const CapacityOptions& options)
    : shape_(shape), options_(options) {
  options.validate(kPlaceOfCapacity);
  check<ConfigError>(shape.num_experts > 0 && shape.ranks > 0, kPlaceOfCapacity,
                     "expected num_experts > 0 and ranks > 0, got ", shape.num_experts, " and ",
                     shape.ranks, ". Set both.");
}

Routing Capacity::apply(Routing routing, const LayerContext& context) const {
  if (!options_.limits(context.training)) return routing;
  check(routing.num_experts == shape_.num_experts, kPlaceOfCapacity, "expected a routing over ",
        shape_.num_experts, " experts, got one over ", routing.num_experts,
        ". Make router and capacity for the same number of experts.");
  const Tensor groups_G1 =
      groups(routing.tokens(), context.tokens).offsets(routing.experts_N.device());
  const Tensor scores_TE = options_.overflow == "next_best" ? selection_scores(routing) : Tensor();
  const Tensor got_N = ops::assign_slots({.offsets_T1 = routing.offsets,
                                          .experts_N = routing.experts_N,
                                          .num_experts = routing.num_experts,
                                          .groups_G1 = groups_G1,
                                          .slots_G = room(groups_G1.diff(), context.training),
                                          .priority_T = urgency(routing, context),
                                          .token_by_token = options_.order == "token",
                                          .scores_TE = scores_TE});
  const Tensor before_N = routing.weights_N;
  if (scores_TE.defined()) routing.weights_N = moved_weights(routing, got_N, scores_TE);
  routing.experts_N = got_N;
  routing.weights_N =
      at::where(got_N.lt(routing.num_experts), routing.weights_N, at::zeros_like(before_N));
  if (options_.renormalise) routing.weights_N = weights_of_sum(routing, before_N);
  return routing;
}

Tensor Capacity::room(const Tensor& tokens_G, bool training) const {
  if (options_.limit > 0) return at::full_like(tokens_G, options_.limit);
  const double factor = training ? options_.factor : options_.eval_factor;
  const auto E = static_cast<double>(shape_.num_experts);
  // No expert takes a token twice: room for every token is as good as any larger.
  const double per_token = std::min(factor * (options_.count_k ? shape_.choices : 1), E);
  return ops::rounded(tokens_G.to(at::kDouble) * per_token / E, options_.rounding)
      .clamp_min(static_cast<double>(options_.minimum))
      .to(at::kLong);
}

Runs Capacity::groups(int64_t tokens, const TokenList& list) const {
  if (const int64_t S = options_.group_tokens; S > 0) {
    const int64_t first = list.first_token;
    check(tokens == 0 || (first % S == 0 && tokens % S == 0), kPlaceOfCapacity,
          "expected whole groups of group_tokens=", S,
          " tokens on every rank and in every micro-batch, got the tokens [", first, ", ",
          first + tokens,
          "). Choose a divisor of the sequence length, or 0 for one group a sequence.");
    return Runs::equal(tokens / S, S);
  }
  // How tokens are dealt to ranks must not decide what a group is.
  check(shape_.ranks == 1 || tokens == 0 || list.sequences.count() > 0, kPlaceOfCapacity,
        "expected the sequences of the tokens with ", shape_.ranks,
        " ranks, got none. Name them in the context, or set group_tokens.");
  return list.rows(tokens);
}

Tensor Capacity::urgency(const Routing& routing, const LayerContext& context) const {
  const auto options = routing.weights_N.options().requires_grad(false);
  if (options_.order == "priority") {
    const Tensor none_T = at::full({routing.tokens()}, -INFINITY, options.dtype(at::kDouble));
    return none_T.scatter_reduce(0, routing.tokens_N(), routing.weights_N.detach().to(at::kDouble),
                                 "amax");
  }
  if (options_.order != "random") return {};
  Tensor drawn_T = at::empty({routing.tokens()}, options.dtype(at::kDouble));
  ops::fill_uniform_(drawn_T, RandomStream(context.random, Purpose::kRouting, kOrderPart), 0, 1,
                     static_cast<uint64_t>(context.tokens.first_token));
  return drawn_T;
}

}  // namespace moe::capacity
