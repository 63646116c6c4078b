// MiniMax-Text-01 (2025), as transformers keeps it: lightning attention and some softmax attention,
// residuals taken behind the norms.
#include <moe/layers/mixers/lightning_attention.h>
#include <moe/models/hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace minimax {

/// What layer i of so many multiplies the rates of its heads' decay by.
double decay_of(int64_t i, int64_t layers) {
  return 1 - static_cast<double>(i) / (static_cast<double>(layers - 1) + 1e-5) + 1e-5;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"block_size",         // products cut into as many positions, whose sum is the same
            "shared_moe_mode"});  // of a shared block, which is not there
  c.only("shared_intermediate_size", {0}, "a shared block");
  c.only("postnorm", {true}, "residuals taken before the norms");
  Attention attention = llama_attention(c, 1e6);
  attention.window = c.size("sliding_window", 0);
  LightningAttention lightning;
  lightning.heads = attention.heads;
  lightning.head_dim = attention.head_dim;
  lightning.activation = activation_of(c, "hidden_act");
  c.only("rotary_dim", {attention.head_dim}, "positions of a part of each head");
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_local_experts", c.size("num_experts", 8));
  mixture.top_k = c.size("num_experts_per_tok", 2);
  mixture.router = TopKRouter{};
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.feed_forward = mixture;
  block.norm_position = "residual";
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  block.feed_forward_residual = c.number("mlp_alpha_factor", 1);
  block.feed_forward_scale = c.number("mlp_beta_factor", 1);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 131072);
  const auto full =
      full_attention_layers(c, {kLinearAttention}, [](int64_t i) { return (i + 1) % 2 == 1; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    const std::string kind = full[i] ? "full" : "linear";
    auto& out = o.blocks[i];
    lightning.decay = decay_of(static_cast<int64_t>(i), static_cast<int64_t>(o.blocks.size()));
    if (full[i])
      out.mixer = attention;
    else
      out.mixer = lightning;
    out.mixer_residual = c.number(kind + "_attn_alpha_factor", 1);
    out.mixer_scale = c.number(kind + "_attn_beta_factor", 1);
  }
  // Of layers that are not there.
  c.ignore({"full_attn_*_factor", "linear_attn_*_factor"});
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.self_attn.",
                    ours = "layers.{i}.lightning_attention.";
  const std::string mlp = "model.layers.{i}.block_sparse_moe.", mixture = "layers.{i}.moe.";
  NameMap out = hybrid_names(o, {"attention", "lightning_attention"}, "input_layernorm",
                             "post_attention_layernorm", "norm");
  add_attention(out);
  const auto lightning = first_mixer<LightningAttention>(o);
  const int64_t P = lightning.head_dim;
  out.add(
      arranged(fused(theirs + "qkv_proj.weight", {{ours + "w_q"}, {ours + "w_k"}, {ours + "w_v"}}),
               heads_split(lightning.heads, {P, P, P})));
  out.add(same(theirs + "output_gate.weight", ours + "w_gate"));
  out.add(same(theirs + "norm.weight", ours + "norm.scale"));
  out.add(same(theirs + "out_proj.weight", ours + "w_o"));
  // Tables of the decays, which follow from the layer's number.
  for (const char* table : {"slope_rate", "query_decay", "key_decay", "diagonal_decay"})
    out.add(ignored(concat("model.layers.*.self_attn.", table)));
  add_gate(out, mlp, mixture);
  add_numbered_experts(out, mlp, mixture);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto attention = first_mixer<Attention>(o);
  const auto attends = blocks_of(parts.blocks, "attention"),
             linear = blocks_of(parts.blocks, "lightning_attention");
  const auto lightning = first_mixer<LightningAttention>(o);
  Table out = hybrid_config(o, "MiniMaxForCausalLM", "minimax");
  if (attends.empty()) {
    out.set("num_attention_heads", lightning.heads);
    out.set("num_key_value_heads", lightning.heads);
    out.set("head_dim", lightning.head_dim);
  }
  out.set("layer_types", layer_kinds(parts.blocks, kFullAttention, kLinearAttention));
  for (const auto& [kind, blocks] : {std::pair{"full", &attends}, std::pair{"linear", &linear}}) {
    if (blocks->empty()) continue;
    out.set(concat(kind, "_attn_alpha_factor"), blocks->front().mixer_residual);
    out.set(concat(kind, "_attn_beta_factor"), blocks->front().mixer_scale);
  }
  out.set("mlp_alpha_factor", parts.blocks.front().feed_forward_residual);
  out.set("mlp_beta_factor", parts.blocks.front().feed_forward_scale);
  out.set("sliding_window", attention.window > 0 ? Value(attention.window) : Value());
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  return out;
}

}  // namespace minimax

MOE_FAMILY(minimax)

}  // namespace moe::models
