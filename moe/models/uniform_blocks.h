#pragma once

#include <vector>

#include <moe/layers/block.h>
#include <moe/layers/moe_options.h>

namespace moe::models {

/// Which blocks of a uniform stack are Mixture of Experts, and of what kind.
struct MoEBlocks {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t every = 1;
  std::vector<int64_t> layers = {};
  std::vector<int64_t> experts_per_layer = {};
  std::vector<int64_t> top_k_per_layer = {};
  RouterSpec router = {};
  ExpertSpec expert = {};
  std::vector<BalanceSpec> balance = {{"switch", 0.01, {}}, {"z_loss", 0.001, {}}};
  layers::FeedForwardSpec shared = {};
  layers::CapacityOptions capacity = {};
  std::string dispatcher = "local";
  double expert_dropout = 0;
  int64_t least_top_k = 0;
  int64_t identity_experts = 0;
  int64_t zero_experts = 0;
  int64_t constant_experts = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("num_experts", num_experts, "experts a layer; 0: a dense model");
    v("top_k", top_k, "experts a token chooses");
    v("every", every, "MoE in every n-th layer: layers n-1, 2n-1, …");
    v("layers", layers, "the MoE layers by number from 0, instead of `every`");
    v("experts_per_layer", experts_per_layer,
      "experts of each of the model's layers, 0 for a dense one; instead of num_experts");
    v("top_k_per_layer", top_k_per_layer,
      "choices in each of the model's layers; instead of top_k");
    v("router", router, "who goes where");
    v("expert", expert, "what an expert computes");
    v("balance", balance, "losses on the routing");
    v("shared", shared, "a feed-forward block that takes every token, beside the routed experts");
    v("capacity", capacity, "how many tokens an expert takes");
    v("dispatcher", dispatcher, "local, or all_to_all to shard the experts over ranks");
    v("expert_dropout", expert_dropout,
      "in training, chance that an expert sits out a whole step: its tokens pass it by and the "
      "weights of the others grow by 1 / (1 - chance); never all experts");
    v("least_top_k", least_top_k,
      "in training, each step draws for each layer how many of a token's choices count, evenly "
      "from this to top_k, so that the model serves any compute budget between (Matryoshka MoE, "
      "Wang 2025); 0: always top_k");
    v("identity_experts", identity_experts, "experts of each layer that give the token back");
    v("zero_experts", zero_experts, "experts of each layer that give nothing (MoE++)");
    v("constant_experts", constant_experts,
      "experts of each layer that give a mixture of the token and a learned vector (MoE++)");
  }
};

/// Blocks that differ at most in their feed-forwards: attention, then MoE or dense. The short way
/// to describe a stack; architectures that have it put its keys into their own table and turn it
/// into block specs.
struct UniformBlocks {
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool attention_bias = false;
  bool qk_norm = false;
  std::string rope = "halves";
  double rope_theta = 10000;
  double attention_dropout = 0;
  std::string norm = "rmsnorm";
  std::string norm_position = "pre";
  double norm_epsilon = 1e-5;
  std::string feed_forward = "gated";
  std::string activation = "silu";
  bool feed_forward_bias = false;
  int64_t d_ff = 0;
  std::vector<int64_t> d_ff_per_layer = {};
  double dropout = 0;
  MoEBlocks moe = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("layers", layers, "blocks");
    v("heads", heads, "query heads");
    v("kv_heads", kv_heads, "key-value heads; 0: as many as heads, 1: multi-query");
    v("head_dim", head_dim, "width of a head; 0: d_model / heads");
    v("attention_bias", attention_bias, "biases on the attention's projections");
    v("qk_norm", qk_norm, "normalise queries and keys per head");
    v("rope", rope, "rotary positions: halves (of a head turn together), interleaved, or none");
    v("rope_theta", rope_theta, "base of the rotary positions");
    v("attention_dropout", attention_dropout, "on the attention weights");
    v("norm", norm, "rmsnorm or layernorm");
    v("norm_position", norm_position,
      "pre: before each half of a block; post: after adding its output");
    v("norm_epsilon", norm_epsilon, "added to the mean square");
    v("feed_forward", feed_forward, "dense layers: gated or ffn");
    v("activation", activation, "of dense layers: silu, gelu, gelu_tanh, relu or relu_squared");
    v("feed_forward_bias", feed_forward_bias, "biases in dense layers");
    v("d_ff", d_ff,
      "hidden units of dense layers; 0: those a token meets in a MoE layer, F of each of its K "
      "experts (or of as many as the router activates) and the shared expert's");
    v("d_ff_per_layer", d_ff_per_layer,
      "hidden units of each layer where it is dense; instead of d_ff");
    v("dropout", dropout, "on the embedding and on each block's output");
    v("moe", moe, "which layers are Mixture of Experts, and of what kind");
  }
  /// `d_model` is the width of the stack.
  void validate(const std::string& place, int64_t d_model) const;
  /// Throws ConfigError for settings that nothing reads where each of `blocks` has a table of its
  /// own: all but norms and dropout outside the blocks that are not as in `defaults`. They may stay
  /// where they describe `blocks`, but for feed-forwards that are dense: so it is of a dense twin.
  void validate_beside(const std::vector<layers::BlockSpec>& blocks, const UniformBlocks& defaults,
                       const std::string& place, int64_t d_model) const;
  /// Fills in the defaults of the chosen kinds and of `moe.expert.d_ff`.
  void resolve(int64_t d_model);

  /// Experts of layer `i`; 0 when it is dense.
  int64_t experts_of(int64_t i) const;
  int64_t top_k_of(int64_t i) const;
  /// Hidden units of one expert.
  int64_t expert_width(int64_t d_model) const {
    return moe.expert.d_ff > 0 ? moe.expert.d_ff : 2 * d_model;
  }
  /// Hidden units of layer `i` were it dense.
  int64_t dense_width(int64_t i, int64_t d_model) const;

  std::vector<layers::BlockSpec> specs(int64_t d_model) const;
};

/// Refuses a size of the options at `place`.key below `least` or too large to count with.
void check_size(int64_t value, int64_t least, const std::string& place, const char* key);

}  // namespace moe::models
