// T tokens, N pairs, E experts, G groups.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
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

/// Adds the slots that pairs got (E: none) to those of their groups.
void count_taken(const Routing& routing, const Tensor& got_N, const Runs& groups,
                 Tensor& taken_GE) {
  const Tensor pair_M = got_N.lt(routing.num_experts).nonzero().squeeze(1);
  const Tensor group_M =
      groups.run_T(got_N.device()).index_select(0, routing.tokens_N().index_select(0, pair_M));
  const Tensor place_M = group_M * routing.num_experts + got_N.index_select(0, pair_M);
  taken_GE.view({-1}).index_add_(0, place_M, at::ones_like(place_M));
}

}  // namespace

Capacity::Capacity(const CapacityShape& shape, const CapacityOptions& options)
    : shape_(shape), options_(options) {
  options.validate(kPlaceOfCapacity);
  check<ConfigError>(shape.num_experts > 0 && shape.ranks > 0, kPlaceOfCapacity,
                     "expected num_experts > 0 and ranks > 0, got ", shape.num_experts, " and ",
                     shape.ranks, ". Set both.");
  check<ConfigError>(
      !shape.causal || options.allow_future || !looks_ahead(/*training=*/false), kPlaceOfCapacity,
      "expected an order that does not look ahead where a causal model is limited in "
      "evaluation, got order = \"",
      options.order,
      "\": a token's experts depend on later tokens. Set order = \"token\", or "
      "eval_factor = 0, or allow_future = true and accept the leak.");
}

bool Capacity::looks_ahead(bool training) const {
  const bool one_each = options_.order == "choice" && options_.overflow == "drop" &&
                        shape_.choices <= 1;  // then first choices are all there are
  return options_.limits(training) && options_.order != "token" && !one_each;
}

std::string Capacity::needs_whole_groups(bool training) const {
  if (options_.limits(training) && options_.whole_call) return "whole_call = true";
  if (looks_ahead(training)) return concat("order = \"", options_.order, '"');
  if (options_.limits(training) && options_.group_tokens > 1)
    return concat("group_tokens = ", options_.group_tokens);
  return "";
}

Routing Capacity::apply(Routing routing, const LayerContext& context, Tensor* taken_GE) const {
  if (!options_.limits(context.training)) return routing;
  check(routing.num_experts == shape_.num_experts, kPlaceOfCapacity, "expected a routing over ",
        shape_.num_experts, " experts, got one over ", routing.num_experts,
        ". Make router and capacity for the same number of experts.");
  check<ConfigError>(
      !options_.renormalise || !routing.weight_on_input, kPlaceOfCapacity,
      "expected weights on the experts' outputs with renormalise = true, got a "
      "router with weight_on = \"input\": an expert that is not linear would compute "
      "another function of scaled inputs. Set renormalise = false or weight_on = "
      "\"output\".");
  const Runs runs = groups(routing.tokens(), context.tokens);
  const Tensor groups_G1 = runs.offsets(routing.experts_N.device());
  Tensor tokens_G = groups_G1.diff();
  if (context.causal && !context.training && options_.group_tokens == 0 && !options_.whole_call &&
      context.context_length > 0)
    tokens_G.fill_(context.context_length);
  const Tensor scores_TE = options_.overflow == "next_best" ? selection_scores(routing) : Tensor();
  const Tensor got_N = ops::assign_slots({.offsets_T1 = routing.offsets,
                                          .experts_N = routing.experts_N,
                                          .num_experts = routing.num_experts,
                                          .groups_G1 = groups_G1,
                                          .slots_G = room(tokens_G, context.training),
                                          .taken_GE = taken_GE ? *taken_GE : Tensor(),
                                          .priority_T = urgency(routing, context),
                                          .token_by_token = options_.order == "token",
                                          .scores_TE = scores_TE});
  if (taken_GE) count_taken(routing, got_N, runs, *taken_GE);
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
  if (!training && options_.eval_fraction > 0)
    return ops::rounded(tokens_G.to(at::kDouble) * options_.eval_fraction, options_.rounding)
        .clamp_min(static_cast<double>(options_.minimum))
        .to(at::kLong);
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
  check(shape_.ranks == 1 || !options_.whole_call, kPlaceOfCapacity,
        "expected one rank with whole_call = true, got ", shape_.ranks,
        ". Set whole_call = false for groups that lie on one rank.");
  if (options_.whole_call) return Runs::equal(1, tokens);
  check(shape_.ranks == 1 || tokens == 0 || list.sequences.count() > 0, kPlaceOfCapacity,
        "expected the sequences of the tokens with ", shape_.ranks,
        " ranks, got none. Name them in the context, or set group_tokens.");
  return list.rows(tokens);
}

Tensor Capacity::urgency(const Routing& routing, const LayerContext& context) const {
  const auto options = routing.weights_N.options().requires_grad(false);
  if (options_.order == "score") {
    check(routing.scores_TE.defined(), kPlaceOfCapacity,
          "expected a router with scores for order = \"score\", got a routing without. Use another "
          "order, or a router that scores experts.");
    return routing.scores_TE.detach().to(at::kDouble).amax(1);
  }
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
