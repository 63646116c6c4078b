// Qwen1.5-MoE and Qwen2-MoE (Qwen Team 2024), as transformers keeps them: a shared expert behind a
// sigmoid beside the routed ones.
#include <algorithm>

#include <moe/models/llama_family.h>

namespace moe::models {

namespace qwen2_moe {

namespace {

/// Without layer_types every second layer before max_window_layers has the window.
void read_windows(DecoderOptions& o, const HfConfig& c) {
  const bool uses = c.flag("use_sliding_window", false);
  const int64_t window = uses ? window_of(c, 4096) : 0, last = c.count("max_window_layers", 28);
  c.ignore({"sliding_window"});  // not in use
  const auto full = full_layers(c, [&](int64_t i) { return i % 2 == 1 || i >= last; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    auto attention = kind_options<Attention>(o.blocks[i].mixer);
    attention.window = full[i] ? 0 : window;
    o.blocks[i].mixer = attention;
  }
}

}  // namespace

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  Attention attention = llama_attention(c, 10000, 16);
  attention.bias = c.flag("qkv_bias", true);
  layers::MoELayerOptions mixture;
  mixture.num_experts = experts_of(c);
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = softmax_router_of(c);
  mixture.expert = expert_of(c, c.size("moe_intermediate_size"));
  Dense shared = dense_of(c, c.size("shared_expert_intermediate_size"));
  shared.gate = true;
  mixture.shared = shared;
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 32768);
  read_windows(o, c);
  read_dense_layers(o, c);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = dense_llama_names(o);
  add_gate(out, theirs, ours);
  add_named_experts(out, theirs, ours);
  add_dense(out, theirs + "shared_expert.", ours + "shared.");
  out.add(same(theirs + "shared_expert_gate.weight", ours + "shared.w_gate"));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "Qwen2MoeForCausalLM", "qwen2_moe");
  out.set("qkv_bias", parts.attention(0).bias);
  // Where all layers are dense, no layer has one: any width will do.
  out.set("shared_expert_intermediate_size", std::max<int64_t>(1, parts.shared.d_ff));
  write_softmax_mixture(out, parts, "num_experts");
  write_sparse_layers(out, parts);
  write_qwen_windows(out, parts);
  return out;
}

}  // namespace qwen2_moe

MOE_FAMILY(qwen2_moe)

}  // namespace moe::models
