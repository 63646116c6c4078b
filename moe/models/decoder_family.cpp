#include <algorithm>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>

namespace moe::models {

namespace {

constexpr int64_t kMostBlocks = 65536;

const std::vector<std::string> kInTrainingOnly = {"init.*",
                                                  "*dropout",
                                                  "*.dispatcher",
                                                  "*.balance*",
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

/// The block with everything said that could be left to a default.
layers::BlockSpec in_full(layers::BlockSpec block, int64_t d_model) {
  if (block.mixer.kind == "attention") {
    auto attention = kind_options<Attention>(block.mixer);
    if (attention.kv_heads == 0) attention.kv_heads = attention.heads;
    if (attention.head_dim == 0) attention.head_dim = d_model / attention.heads;
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

Table in_full(DecoderOptions options) {
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

}  // namespace

std::vector<layers::BlockSpec> repeat(int64_t count, const layers::BlockSpec& block) {
  check(count <= kMostBlocks, "models/family", "expected at most ", kMostBlocks, " blocks, got ",
        count, ". Correct config.json.");
  return std::vector<layers::BlockSpec>(static_cast<size_t>(count), block);
}

std::vector<config::Difference> differences(const DecoderOptions& was, const DecoderOptions& is) {
  auto out = config::differences(in_full(was), in_full(is));
  std::erase_if(out, [](const auto& difference) {
    return std::ranges::any_of(
        kInTrainingOnly, [&](const auto& pattern) { return glob_match(pattern, difference.key); });
  });
  return out;
}

Attention llama_attention(const HfConfig& c, double rope_theta) {
  Attention out;
  out.heads = c.size("num_attention_heads");
  out.kv_heads = c.size("num_key_value_heads", out.heads);
  out.head_dim = c.size("head_dim", c.size("hidden_size") / out.heads);
  out.rope.theta = rope_theta_of(c, rope_theta);
  return out;
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
  return table_of(
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
       {"rope_theta", attention.rope.theta},
       {"max_position_embeddings", options.context_length},
       {"tie_word_embeddings", options.tied_embeddings}});
}

}  // namespace moe::models
