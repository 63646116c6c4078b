// Mixtral of Experts (Jiang et al. 2024), as transformers keeps it.
#include <moe/balance/kinds/switch.h>
#include <moe/experts/kinds/gated.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace mixtral {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout", "router_jitter_noise"});  // in training only
  Attention attention = llama_attention(c, 1e6);
  attention.window = c.size("sliding_window", 0);
  GatedExpert expert;
  expert.d_ff = c.size("intermediate_size");
  expert.activation = activation_of(c, "hidden_act");
  SwitchLoss balance;
  balance.coefficient = c.number("router_aux_loss_coef", 0.001);
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_local_experts");
  mixture.top_k = c.size("num_experts_per_tok");
  mixture.router = TopKRouter{};
  mixture.expert = expert;
  mixture.balance = {balance};
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings");
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.block_sparse_moe.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  out.add(same(theirs + "gate.weight", ours + "router.weight"));
  out.add(stacked(theirs + "experts.{e}.w1.weight", ours + "experts.w_in", kGate));
  out.add(stacked(theirs + "experts.{e}.w3.weight", ours + "experts.w_in", kUp));
  out.add(stacked(theirs + "experts.{e}.w2.weight", ours + "experts.w_out"));
  return out;
}

Table config(const DecoderOptions& o) {
  Table out = llama_config(o, "MixtralForCausalLM", "mixtral");
  const auto blocks = o.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto mixture = kind_options<layers::MoELayerOptions>(blocks.front().feed_forward);
  const bool balanced = !mixture.balance.empty() && mixture.balance.front().kind == "switch";
  out.set("intermediate_size", mixture.expert.d_ff);
  out.set("num_local_experts", mixture.num_experts);
  out.set("num_experts_per_tok", mixture.top_k);
  out.set("router_aux_loss_coef", balanced ? mixture.balance.front().coefficient : 0.0);
  out.set("hidden_act", hf_activation(kind_options<GatedExpert>(mixture.expert).activation));
  out.set("sliding_window", attention.window > 0 ? Value(attention.window) : Value());
  return out;
}

}  // namespace mixtral

MOE_FAMILY(mixtral)

}  // namespace moe::models
