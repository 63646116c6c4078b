// Mixtral of Experts (Jiang et al. 2024), as transformers keeps it.
#include <moe/balance/kinds/switch.h>
#include <moe/experts/kinds/gated.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace mixtral {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout", "router_jitter_noise"});  // in training only
  const int64_t d_model = c.size("hidden_size");
  Attention attention;
  attention.heads = c.size("num_attention_heads");
  attention.kv_heads = c.size("num_key_value_heads", attention.heads);
  attention.head_dim = c.size("head_dim", d_model / attention.heads);
  attention.rope.theta = rope_theta_of(c, 1e6);
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
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size");
  o.context_length = c.size("max_position_embeddings");
  o.d_model = d_model;
  o.uniform.norm_epsilon = block.norm_epsilon;
  o.blocks = repeat(c.size("num_hidden_layers"), block);
  o.tied_embeddings = c.flag("tie_word_embeddings", false);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.",
                    moe = theirs + "block_sparse_moe.";
  return {same("model.embed_tokens.weight", "embedding"),
          same(theirs + "input_layernorm.weight", ours + "attention_norm.scale"),
          same(theirs + "self_attn.q_proj.weight", ours + "attention.w_q"),
          same(theirs + "self_attn.k_proj.weight", ours + "attention.w_k"),
          same(theirs + "self_attn.v_proj.weight", ours + "attention.w_v"),
          same(theirs + "self_attn.o_proj.weight", ours + "attention.w_o"),
          same(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.scale"),
          same(moe + "gate.weight", ours + "moe.router.weight"),
          stacked(moe + "experts.{e}.w1.weight", ours + "moe.experts.w_in", kGate),
          stacked(moe + "experts.{e}.w3.weight", ours + "moe.experts.w_in", kUp),
          stacked(moe + "experts.{e}.w2.weight", ours + "moe.experts.w_out"),
          same("model.norm.weight", "norm.scale"),
          o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"),
          ignored("model.layers.*.self_attn.rotary_emb.inv_freq")};
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto mixture = kind_options<layers::MoELayerOptions>(blocks.front().feed_forward);
  const bool balanced = !mixture.balance.empty() && mixture.balance.front().kind == "switch";
  return table_of(
      {{"architectures", Array{"MixtralForCausalLM"}},
       {"model_type", "mixtral"},
       {"vocab_size", o.vocabulary},
       {"hidden_size", o.d_model},
       {"intermediate_size", mixture.expert.d_ff},
       {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
       {"num_attention_heads", attention.heads},
       {"num_key_value_heads", attention.kv_heads > 0 ? attention.kv_heads : attention.heads},
       {"head_dim", attention.head_dim > 0 ? attention.head_dim : o.d_model / attention.heads},
       {"num_local_experts", mixture.num_experts},
       {"num_experts_per_tok", mixture.top_k},
       {"router_aux_loss_coef", balanced ? mixture.balance.front().coefficient : 0.0},
       {"hidden_act", hf_activation(kind_options<GatedExpert>(mixture.expert).activation)},
       {"rms_norm_eps", blocks.front().norm_epsilon},
       {"rope_theta", attention.rope.theta},
       {"sliding_window", attention.window > 0 ? Value(attention.window) : Value()},
       {"max_position_embeddings", o.context_length},
       {"tie_word_embeddings", o.tied_embeddings}});
}

}  // namespace mixtral

MOE_FAMILY(mixtral)

}  // namespace moe::models
