// LLaMA (Touvron et al. 2023) and the dense models that follow it, as transformers keeps them.
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/models/decoder_family.h>

namespace moe::models {

namespace llama {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout",  // in training only
            "pretraining_tp"});   // products cut into as many, whose sum is the same
  const int64_t d_model = c.size("hidden_size");
  Attention attention;
  attention.heads = c.size("num_attention_heads");
  attention.kv_heads = c.size("num_key_value_heads", attention.heads);
  attention.head_dim = c.size("head_dim", d_model / attention.heads);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.rope.theta = rope_theta_of(c, 10000);
  Dense dense;
  dense.d_ff = c.size("intermediate_size");
  dense.activation = activation_of(c, "hidden_act");
  dense.bias = c.flag("mlp_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size");
  o.context_length = c.size("max_position_embeddings", 2048);
  o.d_model = d_model;
  o.uniform.norm_epsilon = block.norm_epsilon;
  o.blocks = repeat(c.size("num_hidden_layers"), block);
  o.tied_embeddings = c.flag("tie_word_embeddings", false);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  return {same("model.embed_tokens.weight", "embedding"),
          same(theirs + "input_layernorm.weight", ours + "attention_norm.scale"),
          same(theirs + "self_attn.q_proj.weight", ours + "attention.w_q"),
          same(theirs + "self_attn.k_proj.weight", ours + "attention.w_k"),
          same(theirs + "self_attn.v_proj.weight", ours + "attention.w_v"),
          same(theirs + "self_attn.o_proj.weight", ours + "attention.w_o"),
          same(theirs + "self_attn.q_proj.bias", ours + "attention.b_q"),
          same(theirs + "self_attn.k_proj.bias", ours + "attention.b_k"),
          same(theirs + "self_attn.v_proj.bias", ours + "attention.b_v"),
          same(theirs + "self_attn.o_proj.bias", ours + "attention.b_o"),
          same(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.scale"),
          part(theirs + "mlp.gate_proj.weight", ours + "dense.w_in", kGate),
          part(theirs + "mlp.up_proj.weight", ours + "dense.w_in", kUp),
          same(theirs + "mlp.down_proj.weight", ours + "dense.w_out"),
          part(theirs + "mlp.gate_proj.bias", ours + "dense.b_in", kGate),
          part(theirs + "mlp.up_proj.bias", ours + "dense.b_in", kUp),
          same(theirs + "mlp.down_proj.bias", ours + "dense.b_out"),
          same("model.norm.weight", "norm.scale"),
          o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"),
          ignored("model.layers.*.self_attn.rotary_emb.inv_freq")};
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto dense = kind_options<Dense>(blocks.front().feed_forward);
  return table_of(
      {{"architectures", Array{"LlamaForCausalLM"}},
       {"model_type", "llama"},
       {"vocab_size", o.vocabulary},
       {"hidden_size", o.d_model},
       {"intermediate_size", dense.d_ff > 0 ? dense.d_ff : 4 * o.d_model},
       {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
       {"num_attention_heads", attention.heads},
       {"num_key_value_heads", attention.kv_heads > 0 ? attention.kv_heads : attention.heads},
       {"head_dim", attention.head_dim > 0 ? attention.head_dim : o.d_model / attention.heads},
       {"attention_bias", attention.bias},
       {"mlp_bias", dense.bias},
       {"hidden_act", hf_activation(dense.activation)},
       {"rms_norm_eps", blocks.front().norm_epsilon},
       {"rope_theta", attention.rope.theta},
       {"max_position_embeddings", o.context_length},
       {"tie_word_embeddings", o.tied_embeddings}});
}

}  // namespace llama

MOE_FAMILY(llama)

}  // namespace moe::models
