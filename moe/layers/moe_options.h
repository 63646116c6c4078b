#pragma once

#include <string>
#include <vector>

#include <moe/balance/term.h>
#include <moe/capacity/options.h>
#include <moe/experts/experts.h>
#include <moe/layers/feed_forward.h>
#include <moe/parameters/initialise.h>
#include <moe/routing/router.h>

namespace moe::layers {

using balance::BalanceSpec;
using capacity::CapacityOptions;
using experts::ExpertSpec;
using routing::RouterSpec;

/// A feed-forward block of any kind that takes every token, beside the routed experts (DeepSeek-MoE, Qwen):
/// {d_ff = 512, gate = true}, or moe::Dense{.d_ff = 512}. Without hidden units there is none.
using SharedSpec = FeedForwardSpec;
bool is_present(const SharedSpec& shared);

/// One MoE layer.
struct MoELayerOptions {
  int64_t d_model = 0;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  RouterSpec router = {};
  ExpertSpec expert = {};
  std::vector<BalanceSpec> balance = {};
  SharedSpec shared = {};
  CapacityOptions capacity = {};
  std::string dispatcher = "local";
  double expert_dropout = 0;
  /// Of a layer on its own; in a model these two and d_model are the model's. A seed below 0 is drawn from libtorch's
  /// generator, which torch::manual_seed sets.
  InitOptions init = {};
  int64_t seed = -1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("num_experts", num_experts, "experts in the layer, E");
    v("top_k", top_k, "experts a token chooses, K");
    v("router", router, "who goes where");
    v("expert", expert, "what an expert computes");
    v("balance", balance, "losses on the routing");
    v("shared", shared, "a feed-forward block that takes every token, beside the routed experts");
    v("capacity", capacity, "how many tokens an expert takes");
    v("dispatcher", dispatcher,
      "a registered dispatcher: local, or all_to_all to shard the experts over ranks");
    v("expert_dropout", expert_dropout,
      "in training, chance that an expert sits out a whole step: its tokens pass it by and the "
      "weights of the others grow by 1 / (1 - chance); never all experts");
  }
  /// Fills in the defaults of the chosen kinds.
  void resolve();

  operator FeedForwardSpec() const { return spec_of<FeedForwardSpec>("moe", *this); }
};

}  // namespace moe::layers
