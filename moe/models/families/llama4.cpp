// The text half of Llama 4 (Meta 2025), as transformers keeps it: chunks of positions with rotation
// in most layers, none of both in the others; weights of the routing on the experts' inputs.
#include <algorithm>

#include <moe/models/llama_family.h>

namespace moe::models {

namespace llama4 {

namespace {

constexpr const char* kChunked = "chunked_attention";

/// Whether each layer turns queries and keys.
std::vector<bool> turning_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers"), step = c.size("no_rope_layer_interval", 4);
  std::vector<bool> out;
  for (int64_t i = 0; i < layers; ++i) out.push_back((i + 1) % step != 0);
  if (c.indices("no_rope_layers").empty()) return out;  // an empty list means the pattern
  const auto turns = c.counts("no_rope_layers", layers);
  for (size_t i = 0; i < out.size(); ++i) out[i] = turns[i] != 0;
  return out;
}

std::vector<bool> expert_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers"), step = c.size("interleave_moe_layer_step", 1);
  std::vector<bool> out;
  for (int64_t i = 0; i < layers; ++i) out.push_back(!c.has("moe_layers") && (i + 1) % step == 0);
  for (const int64_t i : c.indices("moe_layers"))
    if (i < layers) out[static_cast<size_t>(i)] = true;
  return out;
}

/// Whether queries without positions grow: true, or a number that is not 0, as the first files say.
bool tempers(const HfConfig& c) {
  const Value* value =
      c.has("attn_temperature_tuning") ? c.settings().find("attn_temperature_tuning") : nullptr;
  if (!value) return true;
  if (value->as<bool>()) return *value->as<bool>();
  return c.number("attn_temperature_tuning") != 0;
}

layers::MoELayerOptions mixture_of_llama4(const HfConfig& c) {
  SigmoidRouter router;
  router.renormalise = false;
  router.selection_bias = false;
  router.bias_rate = 0;
  router.weight_on = "input";
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_local_experts", 16);
  out.top_k = c.size("num_experts_per_tok", 1);
  out.router = router;
  out.expert = expert_of(c, c.size("intermediate_size", 8192));
  out.shared = dense_of(c, c.size("intermediate_size", 8192));
  return out;
}

}  // namespace

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"for_llm_compression"});
  Attention turning = llama_attention(c, 500000, 8);
  turning.head_dim = head_dim_of(c, 128);
  turning.rope.kind = "interleaved";
  turning.bias = turning.output_bias = c.flag("attention_bias", false);
  Attention still = turning;
  if (c.flag("use_qk_norm", true)) {
    turning.qk_norm = "head";
    turning.qk_norm_kind = "rmsnorm_plain";
    turning.qk_norm_position = "after";
  }
  still.rope = {};
  still.rope.kind = "none";
  const double scale = c.number("attn_scale", 0.1), floor = c.number("floor_scale", 8192);
  if (tempers(c)) still.temperature_scale = scale, still.temperature_floor = floor;
  layers::BlockSpec block;
  block.mixer = turning;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, turning.rope, 4096 * 32);

  const int64_t chunk = c.names("attention_chunk_size") ? c.count("attention_chunk_size", 0) : 8192;
  const auto turns = turning_layers(c), sparse = expert_layers(c);
  const auto kinds =
      c.texts("layer_types", static_cast<int64_t>(o.blocks.size()), {kFullAttention, kChunked});
  const layers::FeedForwardSpec mixture = mixture_of_llama4(c),
                                dense = dense_of(c, c.size("intermediate_size_mlp", 16384));
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    Attention attention = turns[i] ? turning : still;
    attention.chunk = (kinds.empty() ? turns[i] : kinds[i] == kChunked) ? chunk : 0;
    o.blocks[i].mixer = attention;
    o.blocks[i].feed_forward = sparse[i] ? mixture : dense;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.feed_forward.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  add_dense(out, theirs, "layers.{i}.dense.");
  add_dense(out, theirs + "shared_expert.", ours + "shared.");
  out.add(same(theirs + "router.weight", ours + "router.weight"));
  out.add(transposed(same(theirs + "experts.gate_up_proj", ours + "experts.w_in")));
  out.add(transposed(same(theirs + "experts.down_proj", ours + "experts.w_out")));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "Llama4ForCausalLM", "llama4_text");
  Array turns, sparse, kinds;
  int64_t chunk = 0;
  for (size_t i = parts.blocks.size(); i-- > 0;) {
    const Attention attention = parts.attention(i);
    const bool still = attention.rope.kind == "none";
    turns.insert(turns.begin(), still ? 0 : 1);
    kinds.insert(kinds.begin(), attention.chunk > 0 ? kChunked : kFullAttention);
    if (parts.sparse[i]) sparse.insert(sparse.begin(), static_cast<int64_t>(i));
    if (attention.chunk > 0) chunk = attention.chunk;
    if (still) {
      out.set("attn_temperature_tuning", attention.temperature_scale > 0);
      if (attention.temperature_scale > 0) {
        out.set("attn_scale", attention.temperature_scale);
        // A whole number there.
        out.set("floor_scale", static_cast<int64_t>(attention.temperature_floor));
      }
    } else {
      write_rope(out, attention.rope);
      out.set("use_qk_norm", attention.qk_norm != "none");
    }
  }
  out.set("no_rope_layers", std::move(turns));
  out.set("moe_layers", std::move(sparse));
  out.set("layer_types", std::move(kinds));
  out.set("attention_chunk_size", chunk > 0 ? Value(chunk) : Value());
  out.set("attention_bias", parts.attention(0).bias);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("intermediate_size_mlp", parts.dense.d_ff);
  out.set("hidden_act", hf_activation(parts.expert.activation));
  return out;
}

}  // namespace llama4

MOE_FAMILY(llama4, "llama4_text")

}  // namespace moe::models
