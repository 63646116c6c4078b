// Qwen3-MoE (Yang et al. 2025), as transformers keeps it.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace qwen3_moe {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"max_window_layers"});  // the window is that of every layer
  Attention attention = llama_attention(c, 10000, 4);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.qk_norm = "head";
  const int64_t window = window_of(c, 4096);
  attention.window = c.flag("use_sliding_window", false) ? window : 0;
  layers::MoELayerOptions mixture;
  mixture.num_experts = experts_of(c);
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = softmax_router_of(c);
  mixture.expert = expert_of(c, c.size("moe_intermediate_size"));
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 32768);
  read_dense_layers(o, c);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = dense_llama_names(o);
  add_qk_norms(out);
  add_gate(out, theirs, ours);
  add_named_experts(out, theirs, ours);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, "Qwen3MoeForCausalLM", "qwen3_moe");
  out.set("attention_bias", attention.bias);
  write_softmax_mixture(out, parts, "num_experts");
  write_sparse_layers(out, parts);
  write_window(out, attention);
  out.set("use_sliding_window", attention.window > 0);
  return out;
}

}  // namespace qwen3_moe

MOE_FAMILY(qwen3_moe)

}  // namespace moe::models
