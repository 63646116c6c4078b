// Phi-3.5-MoE (Abdin et al. 2024), as transformers keeps it: SparseMixer's rule, biases everywhere.
#include <moe/base/error.h>
#include <moe/models/llama_family.h>
#include <moe/routing/kinds/sparsemixer.h>

namespace moe::models {

namespace phimoe {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout", "hidden_dropout", "input_jitter_noise", "router_aux_loss_coef"});
  Attention attention = llama_attention(c, 1e6, 8);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.window = window_of(c, 0);
  check(attention.rope.scaling == "none" || attention.rope.scaling == "longrope",
        "models/config.json", "expected rotary positions of the type longrope, or not scaled, in ",
        c.source(), ", got ", attention.rope.scaling, ". Name another family.");
  SparsemixerRouter router;
  router.jitter = c.number("router_jitter_noise", 0.01);
  layers::MoELayerOptions mixture;
  mixture.num_experts = size_of(c, {"num_local_experts", "num_experts"});
  mixture.top_k = c.size("num_experts_per_tok", 2);
  mixture.router = router;
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm = "layernorm";
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.uniform.norm = block.norm;
  o.head_bias = c.flag("lm_head_bias", false);
  o.context_length = context_length_of(c, attention.rope, 4096 * 32);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.block_sparse_moe.", ours = "layers.{i}.moe.";
  const std::string layer = "model.layers.{i}.";
  NameMap out = llama_names(o);
  out.add(same(layer + "input_layernorm.bias", "layers.{i}.attention_norm.bias"));
  out.add(same(layer + "post_attention_layernorm.bias", "layers.{i}.ffn_norm.bias"));
  out.add(same("model.norm.bias", "norm.bias"));
  out.add(same("lm_head.bias", "head_bias"));
  add_gate(out, theirs, ours);
  add_numbered_experts(out, theirs, ours);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, "PhimoeForCausalLM", "phimoe");
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_jitter_noise", kind_options<SparsemixerRouter>(parts.mixture.router).jitter);
  out.set("hidden_act", hf_activation(parts.expert.activation));
  out.set("attention_bias", attention.bias);
  out.set("lm_head_bias", o.head_bias);
  write_window(out, attention);
  return out;
}

}  // namespace phimoe

MOE_FAMILY(phimoe)

}  // namespace moe::models
