#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/mixers/gated_delta_net.h>
#include <moe/layers/mixers/kimi_delta_attention.h>
#include <moe/layers/mixers/lightning_attention.h>
#include <moe/layers/mixers/mamba.h>
#include <moe/layers/mixers/mamba2.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>
#include <moe/models/hf_rope.h>

namespace moe::models {

namespace {

/// Far above any published model; a block takes some 40 kB before it has any memory.
constexpr int64_t kMostBlocks = 4096;

const std::vector<std::string> kInTrainingOnly = {"init.*",
                                                  "*dropout",
                                                  "*.dispatcher",
                                                  "*.balance*",
                                                  "*.router.bias_rate",
                                                  "*.capacity.factor",
                                                  "*.capacity.count_k",
                                                  "*.capacity.rounding",
                                                  "*.capacity.minimum",
                                                  "*.capacity.group_tokens",
                                                  "*.capacity.order",
                                                  "*.capacity.overflow",
                                                  "*.capacity.renormalise",
                                                  "*.capacity.allow_future",
                                                  "*.init.*",
                                                  "*.seed",
                                                  "*.recompute"};

Table spelled_out(DecoderOptions options) {
  auto blocks = options.block_specs();
  for (auto& block : blocks) block = in_full(std::move(block), options.d_model);
  // With explicit blocks only the final norm reads these.
  UniformBlocks last_norm;
  last_norm.norm = options.uniform.norm;
  last_norm.norm_position = options.uniform.norm_position;
  last_norm.norm_epsilon = options.uniform.norm_epsilon;
  options.uniform = last_norm;
  options.blocks = std::move(blocks);
  return write_fields(options);
}

/// Fills in what follows from the width, if the mixer is of one of the kinds `Options`.
template <class... Options>
void fill_in_mixer(layers::MixerSpec& mixer, int64_t d_model) {
  const auto fill_in = [&]<class One>(One options) {
    if (mixer.kind != layers::MixerSpec(options).kind) return;
    options = kind_options<One>(mixer);
    options.fill_in(d_model);
    mixer = options;
  };
  (fill_in(Options()), ...);
}

}  // namespace

layers::BlockSpec in_full(layers::BlockSpec block, int64_t d_model) {
  fill_in_mixer<GatedDeltaNet, KimiDeltaAttention, LightningAttention, Mamba, Mamba2>(block.mixer,
                                                                                      d_model);
  if (block.mixer.kind == "attention") {
    auto attention = kind_options<Attention>(block.mixer);
    if (attention.kv_heads == 0) attention.kv_heads = attention.heads;
    if (attention.head_dim == 0) attention.head_dim = d_model / attention.heads;
    if (attention.value_dim == 0) attention.value_dim = attention.head_dim;
    if (attention.scale == 0)
      attention.scale = 1 / std::sqrt(static_cast<double>(attention.head_dim));
    if (attention.qk_norm == "none" || attention.qk_norm_kind.empty())
      attention.qk_norm_kind = block.norm;
    block.mixer = attention;
  }
  if (block.mixer.kind == "routed_attention") {
    auto attention = kind_options<RoutedAttention>(block.mixer);
    if (attention.head_dim == 0)
      attention.head_dim = d_model / (attention.top_k * attention.kv_heads);
    attention.resolve();
    block.mixer = attention;
  }
  if (block.feed_forward.kind == "moe") {
    auto mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
    mixture.d_model = d_model;
    if (mixture.expert.d_ff == 0) mixture.expert.d_ff = 4 * d_model;
    mixture.router.resolve();
    mixture.expert.resolve();
    block.feed_forward = mixture;
  } else if (block.feed_forward.kind == "dense") {
    auto dense = kind_options<Dense>(block.feed_forward);
    if (dense.d_ff == 0) dense.d_ff = 4 * d_model;
    block.feed_forward = dense;
  }
  block.resolve();
  return block;
}

std::vector<layers::BlockSpec> repeat(int64_t count, const layers::BlockSpec& block) {
  check(count <= kMostBlocks, "models/family", "expected at most ", kMostBlocks, " blocks, got ",
        count, ". Correct config.json.");
  return std::vector<layers::BlockSpec>(static_cast<size_t>(count), block);
}

std::vector<config::Difference> differences(const DecoderOptions& was, const DecoderOptions& is) {
  auto out = config::differences(spelled_out(was), spelled_out(is));
  std::erase_if(out, [](const auto& difference) {
    return std::ranges::any_of(
        kInTrainingOnly, [&](const auto& pattern) { return glob_match(pattern, difference.key); });
  });
  return out;
}

Attention llama_attention(const HfConfig& c, double rope_theta, int64_t kv_heads) {
  Attention out;
  out.heads = c.size("num_attention_heads");
  const bool absent = kv_heads > 0 && !c.names("num_key_value_heads");
  out.kv_heads = c.size("num_key_value_heads", absent ? kv_heads : out.heads);
  out.head_dim = c.size("head_dim", c.size("hidden_size") / out.heads);
  out.rope = rope_of(c, rope_theta);
  return out;
}

int64_t context_length_of(const HfConfig& c, const Rope& rope, int64_t otherwise) {
  const int64_t positions = c.size("max_position_embeddings", otherwise);
  if (rope.scaling != "dynamic" || rope.alpha > 0) return positions;
  return static_cast<int64_t>(static_cast<double>(positions) * std::max(1.0, rope.factor));
}

int64_t positions_in_config(const Rope& rope, int64_t context_length) {
  return rope.scaling == "dynamic" && rope.alpha == 0 ? rope.original_length : context_length;
}

DecoderOptions llama_decoder(const HfConfig& c, const layers::BlockSpec& block) {
  DecoderOptions out;
  out.vocabulary = c.size("vocab_size");
  out.d_model = c.size("hidden_size");
  out.uniform.norm_epsilon = block.norm_epsilon;
  out.blocks = repeat(c.size("num_hidden_layers"), block);
  out.tied_embeddings = c.flag("tie_word_embeddings", false);
  return out;
}

NameMap llama_names(const DecoderOptions& options) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {same("model.embed_tokens.weight", "embedding"),
                 same(theirs + "input_layernorm.weight", ours + "attention_norm.scale"),
                 same(theirs + "self_attn.o_proj.weight", ours + "attention.w_o"),
                 same(theirs + "self_attn.o_proj.bias", ours + "attention.b_o"),
                 same(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.scale"),
                 same("model.norm.weight", "norm.scale"),
                 ignored("model.layers.*.self_attn.rotary_emb.inv_freq")};
  for (const std::string letter : {"q", "k", "v"}) {
    out.add(same(theirs + "self_attn." + letter + "_proj.weight", ours + "attention.w_" + letter));
    out.add(same(theirs + "self_attn." + letter + "_proj.bias", ours + "attention.b_" + letter));
  }
  out.add(options.tied_embeddings ? tied("lm_head.weight", "embedding")
                                  : same("lm_head.weight", "head"));
  return out;
}

Table llama_config(const DecoderOptions& options, const char* architecture,
                   const char* model_type) {
  const auto blocks = options.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  Table out = table_of(
      {{"architectures", Array{architecture}},
       {"model_type", model_type},
       {"vocab_size", options.vocabulary},
       {"hidden_size", options.d_model},
       {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
       {"num_attention_heads", attention.heads},
       {"num_key_value_heads", attention.kv_heads > 0 ? attention.kv_heads : attention.heads},
       {"head_dim",
        attention.head_dim > 0 ? attention.head_dim : options.d_model / attention.heads},
       {"rms_norm_eps", blocks.front().norm_epsilon},
       {"max_position_embeddings", positions_in_config(attention.rope, options.context_length)},
       {"tie_word_embeddings", options.tied_embeddings}});
  write_rope(out, attention.rope);
  return out;
}

}  // namespace moe::models
