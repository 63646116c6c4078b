#include <algorithm>

#include <moe/base/error.h>
#include <moe/layers/mixers/gated_delta_net.h>
#include <moe/models/qwen_hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

DecoderOptions qwen_hybrid_decoder(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"mamba_ssm_dtype", "mtp_*", "num_nextn_predict_layers", "qkv_bias"});
  c.only("attn_output_gate", {true}, "attention without a gate");
  c.only("use_sliding_window", {false}, "sliding windows");
  Attention attention;
  attention.heads = c.size("num_attention_heads", 16);
  attention.kv_heads = c.size("num_key_value_heads", 2);
  attention.head_dim = head_dim_of(c, 256);
  attention.rope = rope_of(c, 10000, nullptr, 0.25);
  attention.bias = attention.output_bias = attention.gate_bias = c.flag("attention_bias", false);
  attention.gate = true;
  attention.qk_norm = "head";
  GatedDeltaNet delta;
  delta.key_heads = c.size("linear_num_key_heads", 16);
  delta.value_heads = c.size("linear_num_value_heads", 32);
  delta.key_dim = c.size("linear_key_head_dim", 128);
  delta.value_dim = c.size("linear_value_head_dim", 128);
  delta.width = c.size("linear_conv_kernel_dim", 4);
  delta.activation = activation_of(c, "hidden_act");
  layers::BlockSpec block;
  block.norm = "rmsnorm_offset";
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.uniform.norm = block.norm;
  o.context_length = context_length_of(c, attention.rope, 32768);
  const int64_t interval = c.size("full_attention_interval", 4);
  const auto full = full_attention_layers(c, {kLinearAttention},
                                          [&](int64_t i) { return (i + 1) % interval == 0; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    if (full[i])
      o.blocks[i].mixer = attention;
    else
      o.blocks[i].mixer = delta;
  }
  return o;
}

layers::MoELayerOptions qwen_hybrid_mixture(const HfConfig& c, bool renormalise) {
  TopKRouter router;
  router.renormalise = renormalise;
  Dense shared = dense_of(c, c.size("shared_expert_intermediate_size", 512));
  shared.gate = true;
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_experts");
  out.top_k = c.size("num_experts_per_tok");
  out.router = router;
  out.expert = expert_of(c, c.size("moe_intermediate_size", 512));
  out.shared = shared;
  out.balance = balance_of(c);
  return out;
}

NameMap qwen_hybrid_names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string delta = theirs + "linear_attn.", our_delta = ours + "gated_delta_net.";
  NameMap out = hybrid_names(o, {"attention", "gated_delta_net"}, "input_layernorm",
                             "post_attention_layernorm", "norm");
  const auto attention = first_mixer<Attention>(o);
  for (const std::string letter : {"k", "v", "o"})
    for (const bool bias : {false, true})
      out.add(same(theirs + "self_attn." + letter + (bias ? "_proj.bias" : "_proj.weight"),
                   ours + "attention." + (bias ? "b_" : "w_") + letter));
  // Each head's query, then its gate.
  for (const bool bias : {false, true}) {
    const std::string our = ours + "attention." + (bias ? "b_" : "w_");
    out.add(arranged(fused(theirs + "self_attn.q_proj" + (bias ? ".bias" : ".weight"),
                           {{our + "q"}, {our + "gate"}}),
                     heads_split(attention.heads, {attention.head_dim, attention.head_dim})));
  }
  add_qk_norms(out);
  add_convolution(out, delta + "conv1d", our_delta + "conv", "");
  out.add(same(delta + "dt_bias", our_delta + "dt_bias"));
  out.add(same(delta + "A_log", our_delta + "a_log"));
  out.add(same(delta + "norm.weight", our_delta + "norm.scale"));
  out.add(same(delta + "out_proj.weight", our_delta + "w_o"));
  const std::string mlp = theirs + "mlp.", mixture = ours + "moe.";
  add_gate(out, mlp, mixture);
  add_dense(out, mlp + "shared_expert.", mixture + "shared.");
  out.add(same(mlp + "shared_expert_gate.weight", mixture + "shared.w_gate"));
  add_dense(out, mlp, ours + "dense.");
  for (const char* mtp : {"mtp.*", "model.mtp.*"}) out.add(ignored(mtp));
  return out;
}

Table qwen_hybrid_config(const DecoderOptions& o, const char* architecture,
                         const char* model_type) {
  const DecoderParts parts(o);
  const auto attention = first_mixer<Attention>(o);
  const auto delta = first_mixer<GatedDeltaNet>(o);
  Table out = hybrid_config(o, architecture, model_type);
  out.set("partial_rotary_factor", attention.rope.share);  // absent it means a quarter
  out.set("attention_bias", attention.bias);
  out.set("layer_types", layer_kinds(parts.blocks, kFullAttention, kLinearAttention));
  out.set("linear_num_key_heads", delta.key_heads);
  out.set("linear_num_value_heads", delta.value_heads);
  out.set("linear_key_head_dim", delta.key_dim);
  out.set("linear_value_head_dim", delta.value_dim);
  out.set("linear_conv_kernel_dim", delta.width);
  out.set("hidden_act", hf_activation(parts.expert.activation));
  out.set("moe_intermediate_size", parts.expert.d_ff);
  // Where all layers are dense, no layer has one: any width will do.
  out.set("shared_expert_intermediate_size", std::max<int64_t>(1, parts.shared.d_ff));
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  return out;
}

}  // namespace moe::models
