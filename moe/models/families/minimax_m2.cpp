// MiniMax-M2 (2025), as transformers keeps it: norms over the whole projections, half of each head
// turned, sigmoid scores.
#include <moe/models/moe_family.h>

namespace moe::models {

namespace minimax_m2 {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  // Of modules that predict further tokens, and of parts that are switched off.
  c.ignore({"mtp_transformer_layers", "num_mtp_modules", "use_mtp", "mlp_intermediate_size",
            "shared_moe_mode", "swa_rope_theta"});
  c.only("scoring_func", {"sigmoid"}, "another rule of selection");
  c.only("shared_intermediate_size", {0}, "a shared block");
  c.only("qk_norm_type", {"per_layer"}, "another norm of queries and keys");
  for (const char* one : {"layernorm_full_attention_beta", "layernorm_linear_attention_beta",
                          "layernorm_mlp_beta", "layernorm_full_attention_alpha",
                          "layernorm_linear_attention_alpha", "layernorm_mlp_alpha"})
    c.only(one, {1}, "scaled residuals");
  for (const int64_t kind : c.counts("attn_type_list", c.size("num_hidden_layers")))
    check(kind == 1, "models/config.json", "expected only 1 in 'attn_type_list' in ", c.source(),
          ", got ", kind, ", which is not there yet: linear attention.");
  Attention attention = llama_attention(c, 5e6);
  attention.head_dim = head_dim_of(c, 128);
  const double turned = c.number("rotary_dim", static_cast<double>(attention.head_dim));
  attention.rope = rope_of(c, 5e6, nullptr, turned / static_cast<double>(attention.head_dim));
  if (c.flag("use_qk_norm", true)) attention.qk_norm = "projection";
  SigmoidRouter router;
  router.selection_bias = c.flag("use_routing_bias", true);
  router.bias_rate = 0;
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_local_experts");
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = router;
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 196608);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.block_sparse_moe.", ours = "layers.{i}.moe.";
  const std::string bias = "e_score_correction_bias";
  NameMap out = llama_names(o);
  add_qk_norms(out);
  add_gate(out, theirs, ours);
  out.add(same(theirs + bias, ours + "router.selection_bias"));
  out.otherwise({same("model.layers.{i}.mlp." + bias, ours + "router.selection_bias")});
  add_numbered_experts(out, theirs, ours);
  for (const char* mtp : {"model.mtp*", "mtp*"}) out.add(ignored(mtp));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "MiniMaxM2ForCausalLM", "minimax_m2");
  out.set("use_qk_norm", parts.attention(0).qk_norm == "projection");
  out.set("use_routing_bias", kind_options<SigmoidRouter>(parts.mixture.router).selection_bias);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  return out;
}

}  // namespace minimax_m2

MOE_FAMILY(minimax_m2)

}  // namespace moe::models
