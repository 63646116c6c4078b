// Grok-1 (xAI 2024), in the forms that its ports to PyTorch gave it.
#include <cmath>

#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace grok_1 {

/// jax.nn.gelu, which the ports call "gelu", is the approximation by tanh.
std::string activation(const HfConfig& c) {
  c.only("hidden_act", {"gelu", "gelu_new", "gelu_pytorch_tanh"}, "another activation");
  return "gelu_tanh";
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  Attention attention = llama_attention(c, 10000);
  const double plain = 1 / std::sqrt(static_cast<double>(attention.head_dim));
  attention.scale = c.number("attn_output_multiplier", plain);
  attention.softcap = c.number("max_attn_value", c.number("attn_logit_softcapping", 30));
  TopKRouter router;
  router.renormalise = false;
  GatedExpert expert;
  expert.d_ff = c.size("intermediate_size");
  expert.activation = activation(c);
  layers::MoELayerOptions mixture;
  mixture.num_experts =
      c.has("num_experts") ? c.size("num_experts") : c.size("num_local_experts", 8);
  mixture.top_k = c.size("num_experts_per_tok", 2);
  mixture.router = router;
  mixture.expert = expert;
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_position = "both";
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 8192);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.embedding_scale = c.number("embedding_multiplier_scale", 1);
  o.logit_scale = c.number("output_multiplier_scale", 1);
  return o;
}

struct LayerNames {
  const char *theirs, *ours;
};
constexpr LayerNames kAttention[] = {{"q", "w_q"}, {"k", "w_k"}, {"v", "w_v"}, {"o", "w_o"}};

/// As the port of ColossalAI and others name them.
NameMap first_names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {same("model.embed_tokens.weight", "embedding"),
                 same("model.norm.scale", "norm.scale")};
  for (const auto& [letter, name] : kAttention)
    out.add(same(theirs + "attn." + letter + "_proj.weight", ours + "attention." + name));
  out.add(same(theirs + "pre_attn_norm.scale", ours + "attention_norm.scale"));
  out.add(same(theirs + "post_attn_norm.scale", ours + "attention_output_norm.scale"));
  out.add(same(theirs + "pre_moe_norm.scale", ours + "ffn_norm.scale"));
  out.add(same(theirs + "post_moe_norm.scale", ours + "ffn_output_norm.scale"));
  out.add(same(theirs + "moe_block.gate.weight", ours + "moe.router.weight"));
  const std::string expert = theirs + "moe_block.experts.{e}.", experts = ours + "moe.experts.";
  out.add(stacked(expert + "linear.weight", experts + "w_in", kGate));
  out.add(stacked(expert + "linear_v.weight", experts + "w_in", kUp));
  out.add(stacked(expert + "linear_1.weight", experts + "w_out"));
  out.add(o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"));
  return out;
}

/// As the tree of the JAX checkpoint, which other ports keep.
NameMap second_names() {
  const std::string theirs = "transformer.decoder_layer.{i}.", ours = "layers.{i}.";
  NameMap out = {same("transformer.in_out_embed.weight", "embedding"),
                 same("transformer.rms_norm.weight", "norm.scale")};
  const std::string attention = theirs + "multi_head_attention.";
  out.add(same(attention + "query.weight", ours + "attention.w_q"));
  out.add(same(attention + "key.weight", ours + "attention.w_k"));
  out.add(same(attention + "value.weight", ours + "attention.w_v"));
  out.add(same(attention + "linear.weight", ours + "attention.w_o"));
  out.add(same(theirs + "rms_norm.weight", ours + "attention_norm.scale"));
  out.add(same(theirs + "rms_norm_1.weight", ours + "attention_output_norm.scale"));
  out.add(same(theirs + "rms_norm_2.weight", ours + "ffn_norm.scale"));
  out.add(same(theirs + "rms_norm_3.weight", ours + "ffn_output_norm.scale"));
  out.add(same(theirs + "router.weight", ours + "moe.router.weight"));
  const std::string expert = theirs + "moe.{e}.", experts = ours + "moe.experts.";
  out.add(stacked(expert + "linear.weight", experts + "w_in", kGate));
  out.add(stacked(expert + "linear_v.weight", experts + "w_in", kUp));
  out.add(stacked(expert + "linear_1.weight", experts + "w_out"));
  return out;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = first_names(o);
  out.otherwise(second_names());
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  check(parts.expert.activation == "gelu_tanh", "models/family",
        "expected experts with the activation 'gelu_tanh', which models of the family have, got '",
        parts.expert.activation, "'. Name another family.");
  Table out = llama_config(o, "Grok1ModelForCausalLM", "grok-1");
  out.set("attn_output_multiplier", attention.scale);
  out.set("max_attn_value", attention.softcap);
  out.set("embedding_multiplier_scale", o.embedding_scale);
  out.set("output_multiplier_scale", o.logit_scale);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", "gelu");
  return out;
}

}  // namespace grok_1

MOE_FAMILY(grok_1, "grok-1", "Grok1ModelForCausalLM", "Grok1ForCausalLM")

}  // namespace moe::models
