// AFMoE: Trinity (Arcee 2025), as transformers keeps it: norms on both sides of each half, gated
// attention, positions in sliding layers only.
#include <cmath>

#include <moe/models/moe_family.h>

namespace moe::models {

namespace afmoe {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"use_grouped_mm", "intermediate_size"});  // the width only dense layers read
  // Files repeat what the architecture is.
  c.only("score_func", {"sigmoid"}, "another rule of selection");
  c.only("route_norm", {true}, "weights that are not renormalised");
  for (const char* groups : {"n_group", "topk_group", "num_expert_groups", "num_limited_groups"})
    c.only(groups, {1}, "selection within groups");
  Attention attention = llama_attention(c, 10000);
  attention.head_dim = head_dim_of(c, 128);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.qk_norm = "head";
  attention.gate = true;
  SigmoidRouter router;
  router.scale = c.number("route_scale", 1);
  router.bias_rate = 0;
  const int64_t width = c.size("moe_intermediate_size");
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_experts", 64);
  mixture.top_k = c.size("num_experts_per_tok", 6);
  mixture.router = router;
  mixture.expert = expert_of(c, width);
  mixture.balance = balance_of(c);
  mixture.shared = shared_experts(c, c.count("num_shared_experts", 2), width);
  layers::BlockSpec block;
  block.feed_forward = mixture;
  block.norm_position = "both";
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 16384);
  if (c.flag("mup_enabled", false)) o.embedding_scale = std::sqrt(static_cast<double>(o.d_model));
  const int64_t step = c.size("global_attn_every_n_layers", 4),
                window = c.size("sliding_window", 1024);
  const auto full = full_layers(c, [&](int64_t i) { return (i + 1) % step == 0; });
  const auto dense = static_cast<size_t>(c.count("num_dense_layers", 1));
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    attention.window = full[i] ? 0 : window;
    attention.rope.kind = full[i] ? "none" : "halves";
    o.blocks[i].mixer = attention;
    if (i < dense) o.blocks[i].feed_forward = dense_of(c, c.size("intermediate_size"));
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string mlp = theirs + "mlp.", mixture = ours + "moe.";
  NameMap out = sandwich_names(o, "pre_mlp_layernorm", "post_mlp_layernorm");
  out.add(same(theirs + "self_attn.gate_proj.weight", ours + "attention.w_gate"));
  out.add(same(mlp + "router.gate.weight", mixture + "router.weight"));
  out.add(same(mlp + "expert_bias", mixture + "router.selection_bias"));
  add_named_experts(out, mlp, mixture);
  add_dense(out, mlp + "shared_experts.", mixture + "shared.");
  add_dense(out, mlp, ours + "dense.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, "AfmoeForCausalLM", "afmoe");
  out.set("attention_bias", attention.bias);
  out.set("mup_enabled", o.embedding_scale != 1);
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("moe_intermediate_size", parts.expert.d_ff);
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("num_shared_experts", parts.shared_count());
  out.set("num_dense_layers", parts.dense_prefix());
  out.set("route_scale", kind_options<SigmoidRouter>(parts.mixture.router).scale);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  write_windows(out, parts);
  return out;
}

}  // namespace afmoe

MOE_FAMILY(afmoe)

}  // namespace moe::models
