#pragma once
// What families of decoders with Mixture-of-Experts layers say in the same words: keys of
// config.json, both ways, and names of tensors.

#include <string>
#include <vector>

#include <moe/experts/kinds/gated.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/moe_options.h>
#include <moe/models/decoder_family.h>
#include <moe/models/expert_names.h>
#include <moe/models/hf_rope.h>
#include <moe/routing/kinds/sigmoid.h>

namespace moe::models {

inline constexpr const char* kFullAttention = "full_attention";
inline constexpr const char* kSlidingAttention = "sliding_attention";

// From config.json.

/// Passes over keys that matter in training only.
void ignore_training(const HfConfig& c);
/// Width of a head: `otherwise` where config.json does not name head_dim, hidden_size /
/// num_attention_heads where it is null.
int64_t head_dim_of(const HfConfig& c, int64_t otherwise);
/// A gated feed-forward of `d_ff` hidden units; its activation is hidden_act of config.json.
Dense dense_of(const HfConfig& c, int64_t d_ff);
/// Gated experts of `d_ff` hidden units, with the same activation.
GatedExpert expert_of(const HfConfig& c, int64_t d_ff);
/// The losses on the routing that router_aux_loss_coef asks for.
std::vector<BalanceSpec> balance_of(const HfConfig& c);
/// What a config.json means that lacks the keys: differs between families.
struct SigmoidDefaults {
  bool renormalise = true;              // norm_topk_prob
  double scale = 1;                     // routed_scaling_factor
  int64_t groups = 1, kept_groups = 1;  // n_group, topk_group
};
/// DeepSeek-V3's rule: sigmoid scores, a selection bias, groups scored by their best two. Reads
/// norm_topk_prob, routed_scaling_factor, n_group and topk_group; refuses other values of
/// scoring_func and topk_method.
SigmoidRouter sigmoid_router_of(const HfConfig& c, const SigmoidDefaults& absent = {});
/// n_routed_experts of moe_intermediate_size, of which num_experts_per_tok are chosen, and beside
/// them a shared block as wide as n_shared_experts (`shared` where absent, null: none).
layers::MoELayerOptions mixture_of(const HfConfig& c, const RouterSpec& router, int64_t shared);
/// A shared block as wide as `count` experts; none for 0.
layers::FeedForwardSpec shared_experts(const HfConfig& c, int64_t count, int64_t width);
/// The kind of each layer's attention from layer_types; without that list layer i is of full
/// attention where is_full(i).
template <class IsFull>
std::vector<bool> full_layers(const HfConfig& c, const IsFull& is_full) {
  const int64_t layers = c.size("num_hidden_layers");
  std::vector<bool> out;
  for (const auto& kind : c.texts("layer_types", layers, {kFullAttention, kSlidingAttention}))
    out.push_back(kind == kFullAttention);
  if (out.empty())
    for (int64_t i = 0; i < layers; ++i) out.push_back(is_full(i));
  return out;
}

// To config.json.

/// What config.json says once of a decoder whose blocks differ little: of the first block of each
/// kind, with nothing left to defaults. Throws moe::Error for feed-forwards of other kinds.
struct DecoderParts {
  explicit DecoderParts(const DecoderOptions& options);

  int64_t layers() const { return static_cast<int64_t>(blocks.size()); }
  /// Blocks before the first with experts.
  int64_t dense_prefix() const;
  int64_t last_sparse() const;
  /// Layers from one with experts to the next, within the first two of them.
  int64_t sparse_step() const;
  /// Hidden units of the shared block, counted in widths of an expert; 0: there is none.
  int64_t shared_count() const;
  Attention attention(size_t block) const;

  std::vector<layers::BlockSpec> blocks;
  int64_t d_model = 0;
  layers::MoELayerOptions mixture = {};
  GatedExpert expert = {};
  Dense shared = {}, dense = {};
  std::vector<bool> sparse = {};  // one a block
};

/// The keys that mixture_of and sigmoid_router_of read.
void write_mixture(Table& config, const DecoderParts& parts);
void write_sigmoid_router(Table& config, const layers::MoELayerOptions& mixture);
/// The same without the keys that say positions once for all layers.
Table without_rope(const Table& config);
/// layer_types: sliding where a block's attention has a window; and the width of the first.
void write_windows(Table& config, const DecoderParts& parts);
double balance_coefficient(const layers::MoELayerOptions& mixture);

// Names.

/// As llama_names, of blocks with a norm on both sides of each half: those of the attention are
/// input_layernorm and post_attention_layernorm, those of the feed-forward `before` ("": none) and
/// `behind`; with norms of queries and keys.
NameMap sandwich_names(const DecoderOptions& options, const std::string& before,
                       const std::string& behind);
/// Norms of queries and keys, called `query` and `key` in theirs.
void add_qk_norms(NameMap& map, const std::string& query = "q_norm",
                  const std::string& key = "k_norm");
/// model.layers.{i}.mlp.: the gate with e_score_correction_bias, named experts (or `stacked` ones),
/// shared_experts, and the feed-forwards of dense layers.
void add_deepseek_mixture(NameMap& map, bool stacked = false);
/// Passes over layers behind the model's `layers` that predict further tokens, which eh_proj tells
/// from others.
void skip_prediction_layers(NameMap& map, int64_t layers);

}  // namespace moe::models
