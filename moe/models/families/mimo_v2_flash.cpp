// MiMo-V2-Flash (Xiaomi 2025): values narrower than queries, and in sliding layers attention sinks,
// other key-value heads and another base of the positions. Both the published config.json and that
// of transformers.
#include <moe/models/moe_family.h>

namespace moe::models {

namespace mimo_v2_flash {

constexpr double kFullTheta = 5e6, kSlidingTheta = 1e4, kShare = 0.334;
constexpr const char *kDense = "dense", *kSparse = "sparse";

/// Published files say 0 and 1 where transformers says words: `ones` is what 1 means.
std::vector<bool> flags(const HfConfig& c, const char* published, const char* words,
                        const std::vector<std::string>& kinds, const std::string& ones) {
  const int64_t layers = c.size("num_hidden_layers");
  std::vector<bool> out;
  for (const int64_t flag : c.counts(published, layers)) out.push_back(flag != 0);
  const auto named = c.texts(words, layers, kinds);
  if (out.empty())
    for (const auto& kind : named) out.push_back(kind == ones);
  return out;
}

std::vector<bool> sliding_layers(const HfConfig& c) {
  auto out = flags(c, "hybrid_layer_pattern", "layer_types", {kFullAttention, kSlidingAttention},
                   kSlidingAttention);
  const int64_t layers = out.empty() ? c.size("num_hidden_layers") : 0;
  for (int64_t i = 0; i < layers; ++i) out.push_back(i > 0 && (i + 1) % 6 != 0);
  return out;
}

std::vector<bool> sparse_layers(const HfConfig& c) {
  auto out = flags(c, "moe_layer_freq", "mlp_layer_types", {kDense, kSparse}, kSparse);
  const int64_t layers = out.empty() ? c.size("num_hidden_layers") : 0;
  for (int64_t i = 0; i < layers; ++i) out.push_back(i > 0);
  return out;
}

/// Of layers that see everything.
Attention full_attention(const HfConfig& c) {
  Attention out;
  out.heads = c.size("num_attention_heads");
  out.kv_heads = c.size("num_key_value_heads", 4);
  out.head_dim = head_dim_of(c, 192);
  out.value_dim = c.size("v_head_dim", 128);
  out.value_scale = c.number("attention_value_scale", c.names("attention_value_scale") ? 1 : 0.707);
  out.bias = c.flag("attention_bias", false);
  out.sinks = c.flag("add_full_attention_sink_bias", false);
  out.rope = rope_of(c, kFullTheta, kFullAttention, kShare);
  return out;
}

Attention sliding_attention(const HfConfig& c) {
  Attention out = full_attention(c);
  out.kv_heads = c.size("swa_num_key_value_heads", 2 * out.kv_heads);
  out.heads = c.size("swa_num_attention_heads", out.heads);
  out.head_dim = c.size("swa_head_dim", out.head_dim);
  out.value_dim = c.size("swa_v_head_dim", out.value_dim);
  out.sinks = c.flag("add_swa_attention_sink_bias", true);
  out.window = c.size("sliding_window", 129);
  // This key counts the positions before a token's own.
  if (c.has("sliding_window_size")) out.window = c.size("sliding_window_size") + 1;
  if (c.has("rope_parameters"))
    out.rope = rope_of(c, kSlidingTheta, kSlidingAttention, kShare);
  else
    out.rope.theta = c.number("swa_rope_theta", kSlidingTheta);
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"attention_chunk_size", "num_nextn_predict_layers", "swa_rope_theta"});
  c.only("n_shared_experts", {0}, "shared experts");
  c.only("attention_projection_layout", {"split"}, "projections in one");
  layers::BlockSpec block;
  block.norm_epsilon = c.number("layernorm_epsilon", c.number("rms_norm_eps", 1e-5));
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 131072);
  const auto sliding = sliding_layers(c), sparse = sparse_layers(c);
  const layers::MixerSpec narrow = sliding_attention(c), wide = full_attention(c);
  const layers::FeedForwardSpec mixture = mixture_of(c, sigmoid_router_of(c), 0);
  const layers::FeedForwardSpec dense = dense_of(c, c.size("intermediate_size"));
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    o.blocks[i].mixer = sliding[i] ? narrow : wide;
    o.blocks[i].feed_forward = sparse[i] ? mixture : dense;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.self_attn.", ours = "layers.{i}.attention.";
  NameMap out = llama_names(o);
  out.add(same(theirs + "attention_sink_bias", ours + "sinks"));
  out.otherwise({same(theirs + "sinks", ours + "sinks")});
  add_deepseek_mixture(out);
  for (const char* mtp : {"model.mtp.*", "mtp.*"}) out.add(ignored(mtp));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  std::vector<Attention> attentions;
  for (size_t i = 0; i < parts.blocks.size(); ++i) attentions.push_back(parts.attention(i));
  const auto of_kind = [&](bool sliding) {
    for (const auto& one : attentions)
      if ((one.window > 0) == sliding) return one;
    return attentions.front();
  };
  Attention full = of_kind(false);
  const Attention sliding = of_kind(true);
  // Without full layers: transformers takes twice as many for the sliding ones whatever is said.
  if (full.window > 0 && sliding.kv_heads % 2 == 0) full.kv_heads = sliding.kv_heads / 2;
  // In both dialects: each has readers that know the other's keys not at all.
  Table out = without_rope(llama_config(o, "MiMoV2FlashForCausalLM", "mimo_v2_flash"));
  out.set("num_attention_heads", full.heads);
  out.set("num_key_value_heads", full.kv_heads);
  out.set("head_dim", full.head_dim);
  out.set("v_head_dim", full.value_dim > 0 ? full.value_dim : full.head_dim);
  out.set("swa_num_attention_heads", sliding.heads);
  out.set("swa_num_key_value_heads", sliding.kv_heads);
  out.set("swa_head_dim", sliding.head_dim);
  out.set("swa_v_head_dim", sliding.value_dim > 0 ? sliding.value_dim : sliding.head_dim);
  out.set("attention_value_scale", full.value_scale);
  out.set("attention_bias", full.bias);
  out.set("add_full_attention_sink_bias", full.sinks);
  out.set("add_swa_attention_sink_bias", sliding.sinks);
  write_rope(out, full.rope, kFullAttention);
  write_rope(out, sliding.rope, kSlidingAttention);
  out.set("rope_theta", full.rope.theta);
  out.set("partial_rotary_factor", full.rope.share);
  out.set("swa_rope_theta", sliding.rope.theta);
  out.set("sliding_window_size", sliding.window > 1 ? Value(sliding.window - 1) : Value());
  write_windows(out, parts);
  Array pattern, sparse, kinds;
  for (size_t i = 0; i < attentions.size(); ++i) {
    pattern.emplace_back(attentions[i].window > 0 ? 1 : 0);
    sparse.emplace_back(parts.sparse[i] ? 1 : 0);
    kinds.emplace_back(parts.sparse[i] ? kSparse : kDense);
  }
  out.set("hybrid_layer_pattern", std::move(pattern));
  out.set("moe_layer_freq", std::move(sparse));
  out.set("mlp_layer_types", std::move(kinds));
  out.set("layernorm_epsilon", parts.blocks.front().norm_epsilon);
  out.set("intermediate_size", parts.dense.d_ff);
  write_mixture(out, parts);
  write_sigmoid_router(out, parts.mixture);
  return out;
}

}  // namespace mimo_v2_flash

MOE_FAMILY(mimo_v2_flash)

}  // namespace moe::models
