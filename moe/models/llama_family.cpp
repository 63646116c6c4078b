#include <algorithm>

#include <moe/base/error.h>
#include <moe/models/llama_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

int64_t window_of(const HfConfig& c, int64_t otherwise) {
  return c.names("sliding_window") ? c.count("sliding_window", 0) : otherwise;
}

void read_qwen_windows(DecoderOptions& o, const HfConfig& c) {
  const bool uses = c.flag("use_sliding_window", false);
  const int64_t window = uses ? window_of(c, 4096) : 0, first = c.count("max_window_layers", 28);
  c.ignore({"sliding_window"});  // not in use
  const auto full = full_layers(c, [&](int64_t i) { return i < first; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    auto attention = kind_options<Attention>(o.blocks[i].mixer);
    attention.window = full[i] ? 0 : window;
    o.blocks[i].mixer = attention;
  }
}

int64_t size_of(const HfConfig& c, const std::vector<const char*>& keys) {
  int64_t out = 0;
  for (const char* key : keys)
    if (c.has(key) && out == 0) out = c.size(key);
  return out > 0 ? out : c.size(keys.front());
}

int64_t experts_of(const HfConfig& c) {
  return size_of(c, {"num_experts", "num_local_experts"});
}

RouterSpec softmax_router_of(const HfConfig& c) {
  TopKRouter out;
  out.renormalise = c.flag("norm_topk_prob", false);
  return out;
}

void read_dense_layers(DecoderOptions& o, const HfConfig& c) {
  const int64_t step = c.size("decoder_sparse_step", 1);
  const auto layers = static_cast<int64_t>(o.blocks.size());
  const auto only = c.indices("mlp_only_layers");
  c.ignore({"intermediate_size"});  // without dense layers it says nothing
  for (int64_t i = 0; i < layers; ++i)
    if ((i + 1) % step != 0 || std::ranges::count(only, i) > 0)
      o.blocks[static_cast<size_t>(i)].feed_forward = dense_of(c, c.size("intermediate_size"));
}

DecoderOptions olmo_decoder(const HfConfig& c, double rope_theta, double norm_epsilon) {
  Attention attention = llama_attention(c, rope_theta);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.qk_norm = "projection";
  layers::MoELayerOptions mixture;
  mixture.num_experts = experts_of(c);
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = softmax_router_of(c);
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", norm_epsilon);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 4096);
  return o;
}

void write_window(Table& config, const Attention& attention) {
  config.set("sliding_window", attention.window > 0 ? Value(attention.window) : Value());
}

void write_qwen_windows(Table& config, const DecoderParts& parts) {
  write_windows(config, parts);
  config.set("use_sliding_window", !config.find("sliding_window")->empty());
}

void write_sparse_layers(Table& config, const DecoderParts& parts) {
  Array dense;
  for (int64_t i = 0; i < parts.layers(); ++i)
    if (!parts.sparse[static_cast<size_t>(i)]) dense.emplace_back(i);
  config.set("decoder_sparse_step", 1);
  config.set("mlp_only_layers", std::move(dense));
  config.set("moe_intermediate_size", parts.expert.d_ff);
  config.set("intermediate_size", parts.dense.d_ff);
}

void write_softmax_mixture(Table& config, const DecoderParts& parts, const char* experts_key) {
  config.set(experts_key, parts.mixture.num_experts);
  config.set("num_experts_per_tok", parts.mixture.top_k);
  config.set("norm_topk_prob", kind_options<TopKRouter>(parts.mixture.router).renormalise);
  config.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  config.set("hidden_act", hf_activation(parts.expert.activation));
}

Table olmo_config(const DecoderOptions& o, const char* architecture, const char* model_type) {
  const DecoderParts parts(o);
  Table out = llama_config(o, architecture, model_type);
  out.set("attention_bias", parts.attention(0).bias);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("pad_token_id", Value());  // else that of the published vocabulary
  write_softmax_mixture(out, parts, "num_experts");
  return out;
}

Table dense_llama_config(const DecoderOptions& o, const char* architecture,
                         const char* model_type) {
  Table out = llama_config(o, architecture, model_type);
  auto dense = kind_options<Dense>(o.block_specs().front().feed_forward);
  out.set("intermediate_size", dense.d_ff > 0 ? dense.d_ff : 4 * o.d_model);
  out.set("hidden_act", hf_activation(dense.activation));
  return out;
}

NameMap dense_llama_names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  add_dense(out, "model.layers.{i}.mlp.", "layers.{i}.dense.");
  return out;
}

}  // namespace moe::models
