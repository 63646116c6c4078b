// T tokens, N pairs, E experts, G groups of S tokens.
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
#include <moe/ops/room.h>
#include <moe/ops/rounding.h>

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

/// (G,) int64 real tokens.
Tensor real_tokens(const Routing& routing, int64_t groups, int64_t tokens_per_group) {
  if (routing.valid_T.defined()) return routing.valid_T.reshape({groups, tokens_per_group}).sum(1);
  return at::full({groups}, tokens_per_group, routing.experts_N.options());
}

}  // namespace

Capacity::Capacity(const CapacityShape& shape, const CapacityOptions& options)
    : shape_(shape), options_(options) {
  options.validate(kPlaceOfCapacity);
  check<ConfigError>(shape.num_experts > 0 && shape.ranks > 0, kPlaceOfCapacity,
                     "expected num_experts > 0 and ranks > 0, got ", shape.num_experts, " and ",
                     shape.ranks, ". Set both.");
}

Routing Capacity::apply(Routing routing, const RoutingContext& context) const {
  if (!options_.limits(context.training)) return routing;
  check(routing.num_experts == shape_.num_experts, kPlaceOfCapacity, "expected a routing over ",
        shape_.num_experts, " experts, got one over ", routing.num_experts,
        ". Make router and capacity for the same number of experts.");
  const int64_t S = tokens_per_group(routing.tokens(), context), G = routing.tokens() / S;
  const Tensor scores_TE = options_.overflow == "next_best" ? selection_scores(routing) : Tensor();
  const Tensor got_N =
      ops::claim_room({.offsets_T1 = routing.offsets,
                       .experts_N = routing.experts_N,
                       .num_experts = routing.num_experts,
                       .tokens_per_group = S,
                       .room_G = room(real_tokens(routing, G, S), context.training),
                       .urgency_T = urgency(routing, context),
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
  const Tensor real_G = tokens_G.to(at::kDouble);
  if (options_.limit > 0) return at::full_like(tokens_G, options_.limit);
  const double factor = training ? options_.factor : options_.eval_factor;
  const auto E = static_cast<double>(shape_.num_experts);
  // No expert meets a token twice: room for every token is as good as any larger.
  const double per_token = std::min(factor * (options_.count_k ? shape_.choices : 1), E);
  return ops::rounded(real_G * per_token / E, options_.rounding)
      .clamp_min(static_cast<double>(options_.minimum))
      .to(at::kLong);
}

int64_t Capacity::tokens_per_group(int64_t tokens, const RoutingContext& context) const {
  const int64_t first = context.first_token;
  const auto whole = [&](int64_t size) {
    return tokens == 0 || (first % size == 0 && tokens % size == 0);
  };
  if (const int64_t S = options_.group_tokens; S > 0) {
    check(whole(S), kPlaceOfCapacity, "expected whole groups of group_tokens=", S,
          " tokens on every rank and in every micro-batch, got the tokens [", first, ", ",
          first + tokens,
          "). Choose a divisor of the sequence length, or 0 for one group a "
          "sequence.");
    return S;
  }
  if (shape_.ranks == 1) return context.tokens_per_sequence(tokens);
  // How tokens are dealt to ranks must not decide what a group is.
  check(context.sequence_length > 0, kPlaceOfCapacity, "expected a sequence_length with ",
        shape_.ranks, " ranks, got 0. Set it in the context, or set group_tokens.");
  check(whole(context.sequence_length), kPlaceOfCapacity, "expected whole sequences of ",
        context.sequence_length, " tokens on every rank, got the tokens [", first, ", ",
        first + tokens, "). Give each rank whole sequences.");
  return context.sequence_length;
}

Tensor Capacity::urgency(const Routing& routing, const RoutingContext& context) const {
  const auto options = routing.weights_N.options().requires_grad(false);
  if (options_.order == "priority") {
    const Tensor none_T = at::full({routing.tokens()}, -INFINITY, options.dtype(at::kDouble));
    return none_T.scatter_reduce(0, routing.tokens_N(), routing.weights_N.detach().to(at::kDouble),
                                 "amax");
  }
  if (options_.order != "random") return {};
  Tensor drawn_T = at::empty({routing.tokens()}, options.dtype(at::kDouble));
  ops::fill_uniform_(drawn_T, RandomStream(context.random, Purpose::kRouting, kOrderPart), 0, 1,
                     static_cast<uint64_t>(context.first_token));
  return drawn_T;
}

}  // namespace moe::capacity
