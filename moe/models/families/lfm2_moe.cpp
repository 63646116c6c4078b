// LFM2-MoE (Liquid AI 2025), as transformers keeps it: gated short convolutions and some attention.
#include <algorithm>

#include <moe/layers/mixers/short_convolution.h>
#include <moe/models/hybrid_family.h>

namespace moe::models {

namespace lfm2_moe {

constexpr const char* kConv = "conv";

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  Attention attention = llama_attention(c, 1e6);
  attention.qk_norm = "head";
  ShortConvolution convolution;
  convolution.width = c.size("conv_L_cache", 3);
  convolution.bias = c.flag("conv_bias", false);
  SigmoidRouter router;
  router.selection_bias = c.flag("use_expert_bias", true);
  router.bias_rate = 0;
  router.renormalise = c.flag("norm_topk_prob", true);
  router.epsilon = 1e-6;
  router.scale = c.number("routed_scaling_factor", 1);
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_experts", 32);
  mixture.top_k = c.size("num_experts_per_tok", 4);
  mixture.router = router;
  mixture.expert = expert_of(c, c.size("moe_intermediate_size", 1792));
  layers::BlockSpec block;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 128000);
  o.tied_embeddings = c.flag("tie_embedding", c.flag("tie_word_embeddings", true));
  const auto dense = static_cast<size_t>(c.count("num_dense_layers", 2));
  const auto full = full_attention_layers(c, {kConv}, [](int64_t) { return true; });
  const int64_t width = c.size("intermediate_size", 7168);
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    if (full[i])
      o.blocks[i].mixer = attention;
    else
      o.blocks[i].mixer = convolution;
    if (i < dense) o.blocks[i].feed_forward = dense_of(c, width);
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string mlp = theirs + "feed_forward.", our_conv = ours + "short_convolution.";
  NameMap out = hybrid_names(o, {"attention", "short_convolution"}, "operator_norm", "ffn_norm",
                             "embedding_norm");
  add_attention(out, "out_proj");
  add_qk_norms(out, "q_layernorm", "k_layernorm");
  add_convolution(out, theirs + "conv.conv", our_conv + "conv", our_conv + "conv_bias");
  for (const bool bias : {false, true}) {
    const std::string kind = bias ? ".bias" : ".weight", letter = bias ? "b_" : "w_";
    out.add(same(theirs + "conv.in_proj" + kind, our_conv + letter + "in"));
    out.add(same(theirs + "conv.out_proj" + kind, our_conv + letter + "o"));
  }
  add_gate(out, mlp, ours + "moe.");
  out.add(same(mlp + "expert_bias", ours + "moe.router.selection_bias"));
  add_numbered_experts(out, mlp, ours + "moe.");
  add_numbered_dense(out, mlp, ours + "dense.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto convolution = first_mixer<ShortConvolution>(o);
  const auto router = parts.mixture.router.kind == "sigmoid"
                          ? kind_options<SigmoidRouter>(parts.mixture.router)
                          : SigmoidRouter();
  Table out = hybrid_config(o, "Lfm2MoeForCausalLM", "lfm2_moe", "norm_eps");
  out.set("tie_embedding", o.tied_embeddings);
  out.set("layer_types", layer_kinds(parts.blocks, kFullAttention, kConv));
  out.set("conv_L_cache", convolution.width);
  out.set("conv_bias", convolution.bias);
  out.set("num_dense_layers", parts.dense_prefix());
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("moe_intermediate_size", parts.expert.d_ff);
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("use_expert_bias", router.selection_bias);
  out.set("norm_topk_prob", router.renormalise);
  out.set("routed_scaling_factor", router.scale);
  return out;
}

}  // namespace lfm2_moe

MOE_FAMILY(lfm2_moe)

}  // namespace moe::models
