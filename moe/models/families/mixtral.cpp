// Mixtral of Experts (Jiang et al. 2024), as transformers keeps it.
#include <moe/balance/kinds/switch.h>
#include <moe/models/expert_names.h>
#include <moe/models/llama_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace mixtral {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  Attention attention = llama_attention(c, 1e6, 8);
  attention.window = window_of(c, 0);
  layers::MoELayerOptions mixture;
  mixture.num_experts = size_of(c, {"num_local_experts", "num_experts"});
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = TopKRouter{};
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  SwitchLoss balance;
  balance.coefficient = c.number("router_aux_loss_coef", 0.001);
  mixture.balance = {balance};
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 4096 * 32);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.block_sparse_moe.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  add_gate(out, theirs, ours);
  add_numbered_experts(out, theirs, ours);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "MixtralForCausalLM", "mixtral");
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  write_window(out, parts.attention(0));
  return out;
}

}  // namespace mixtral

MOE_FAMILY(mixtral)

}  // namespace moe::models
