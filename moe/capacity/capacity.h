#pragma once
// T tokens, N pairs, E experts, G groups.

#include <string>

#include <ATen/core/Tensor.h>

#include <moe/capacity/options.h>
#include <moe/flow/context.h>
#include <moe/flow/routing.h>

namespace moe::capacity {

/// What a limit is made for.
struct CapacityShape {
  int64_t num_experts = 0;
  /// K: experts a token chooses, on average.
  double choices = 1;
  /// Over how many ranks the tokens lie, each holding consecutive ones.
  int64_t ranks = 1;
  /// No token may depend on later ones, in evaluation.
  bool causal = false;
};

/// GShard, Switch, V-MoE: each expert takes at most C pairs of a group of tokens, where
///
///   C = max(minimum, rounding(factor * K * T / E)),   T the tokens of the group,
///
/// and pairs beyond that are dropped (expert id E, weight 0), or moved to the next-best expert with
/// room. A transform of routings, between any router and any dispatcher.
///
/// with C = eval_fraction * T or C = limit instead where these are set. Groups are the rows of the
/// call (context.tokens), whose lengths may differ, the whole call, or `group_tokens`
/// consecutive tokens by global number, so that ranks and micro-batches change nothing as long as
/// each holds whole groups; one that does not throws. A pair keeps its place in its token's order
/// of choice; logits, scores and noise stay what the router said. Losses and loads are to be taken
/// from the routing before, drops from the one after.
///
/// In evaluation of a causal model T is its context length, whatever the length of the text, so
/// that with order = "token" no token depends on what comes after it, and a text that is read in
/// several calls gets what it gets in one.
///
/// Stateless and thread-safe; the same for any number of threads.
class Capacity {
 public:
  /// Throws ConfigError for options that mean nothing, and for an order that looks ahead in the
  /// evaluation of a causal model without allow_future.
  Capacity(const CapacityShape& shape, const CapacityOptions& options);

  /// The routing as it came when nothing is limited. Throws moe::Error when the call holds a part
  /// of a group, when pairs are to move by scores that the router does not give, and for
  /// renormalise where the weights are on the experts' inputs.
  ///
  /// `taken_GE` (G, E) int64: slots that each group's earlier calls took; those of this call are
  /// added. Null: there were none.
  Routing apply(Routing routing, const LayerContext& context, Tensor* taken_GE = nullptr) const;

  /// The option that keeps a group's tokens from coming in several calls, such as `order =
  /// "choice"`: with it a token depends on later ones, or on whole groups. "": none.
  std::string needs_whole_groups(bool training) const;

  /// (G,) int64: C of groups of tokens_G (int64) tokens; never more than they are, but for
  /// `minimum` and `limit`.
  Tensor room(const Tensor& tokens_G, bool training) const;

 private:
  bool looks_ahead(bool training) const;
  Runs groups(int64_t tokens, const TokenList& list) const;
  Tensor urgency(const Routing& routing, const LayerContext& context) const;

  CapacityShape shape_;
  CapacityOptions options_;
};

}  // namespace moe::capacity
