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

using capacity::CapacityOptions;

/// One MoE layer.
///
/// Kinds are named by their options, or by text:
///
///   {.router = moe::SigmoidRouter{.bias_rate = 1e-3}, .expert = moe::GatedExpert{.d_ff = 1024},
///    .balance = {moe::SequenceLoss{.coefficient = 1e-4}}, .shared = moe::Dense{.d_ff = 512}}
///   {.router = {.kind = "sigmoid"}, .expert = {.kind = "gated", .d_ff = 1024}}
///
/// (routing/routers.h, experts/expert_options.h, balance/terms.h, layers/feed_forwards/.)
struct MoELayerOptions {
  int64_t d_model = 0;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  RouterSpec router = {};
  ExpertSpec expert = {};
  std::vector<BalanceSpec> balance = {};
  FeedForwardSpec shared = {};
  CapacityOptions capacity = {};
  std::string dispatcher = "local";
  double expert_dropout = 0;
  int64_t least_top_k = 0;
  int64_t identity_experts = 0;
  int64_t zero_experts = 0;
  int64_t constant_experts = 0;
  double output_scale = 1;
  bool branch_norms = false;
  bool output_bias = false;
  InitOptions init = {};
  int64_t seed = -1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("d_model", d_model, "width of the tokens; inside a model that of the model");
    v("num_experts", num_experts, "experts in the layer, E");
    v("top_k", top_k, "experts a token chooses, K");
    v("router", router, "who goes where");
    v("expert", expert, "what an expert computes");
    v("balance", balance, "losses on the routing");
    v("shared", shared,
      "a feed-forward block that takes every token, beside the routed experts (DeepSeek-MoE, "
      "Qwen); none while it is dense with d_ff = 0");
    v("capacity", capacity, "how many tokens an expert takes");
    v("dispatcher", dispatcher,
      "a registered dispatcher: local, or all_to_all to shard the experts over ranks");
    v("expert_dropout", expert_dropout,
      "in training, chance that an expert sits out a whole step: its tokens pass it by and the "
      "weights of the others grow by 1 / (1 - chance); never all experts");
    v("least_top_k", least_top_k,
      "in training, each step draws for each layer how many of a token's choices count, evenly "
      "from this to top_k, so that the model serves any compute budget between (Matryoshka MoE, "
      "Wang 2025); 0: always top_k");
    v("identity_experts", identity_experts,
      "experts without parameters that give the token back; the router's columns are num_experts, "
      "then these, then zero_experts and constant_experts (LongCat-Flash, MoE++)");
    v("zero_experts", zero_experts, "experts that give nothing (MoE++)");
    v("constant_experts", constant_experts,
      "experts that give a mixture of the token and a learned vector (MoE++)");
    v("output_scale", output_scale,
      "the layer's output, with the shared block's, is multiplied by this");
    v("branch_norms", branch_norms,
      "norms of their own before and behind the experts and the shared block, while the router "
      "reads the input as it is (Gemma 4)");
    v("output_bias", output_bias, "add a learned bias to the layer's output (JetMoE)");
    v("init", init, "how the parameters of a layer on its own start");
    v("seed", seed, "of the parameters of a layer on its own; -1: drawn from libtorch's generator");
  }
  /// Fills in the defaults of the chosen kinds.
  void resolve();

  operator FeedForwardSpec() const { return spec_of<FeedForwardSpec>("moe", *this); }
};

/// Whether options ask for the block `shared`: not where it is dense without hidden units.
bool is_present(const FeedForwardSpec& shared);

}  // namespace moe::layers
