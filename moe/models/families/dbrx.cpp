// DBRX (Databricks 2024), as transformers keeps it: fused and clipped queries, keys and values.
#include <moe/models/llama_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace dbrx {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"emb_pdrop", "num_key_value_heads", "resid_pdrop"});
  const HfConfig a = c.inside("attn_config"), f = c.inside("ffn_config");
  a.ignore({"attn_pdrop", "model_type"});
  f.ignore({"hidden_size", "model_type", "moe_jitter_eps", "moe_loss_weight"});
  f.only("uniform_expert_assignment", {false}, "experts without a choice");
  Attention attention;
  attention.heads = c.size("n_heads");
  attention.kv_heads = a.size("kv_n_heads", 1);
  attention.head_dim = c.size("d_model") / attention.heads;
  attention.clip = a.number("clip_qkv", 0);
  attention.rope = rope_of(c, a.number("rope_theta", 10000));
  const HfConfig activation = f.inside("ffn_act_fn");
  GatedExpert expert;
  expert.d_ff = f.size("ffn_hidden_size");
  expert.activation = activation_of(activation, "name");
  TopKRouter router;
  router.renormalise =
      f.has("moe_normalize_expert_weights") || !f.names("moe_normalize_expert_weights");
  router.norm = f.number("moe_normalize_expert_weights", 1);
  check(router.norm > 0, "models/dbrx",
        "expected moe_normalize_expert_weights above 0 or null, got ", router.norm,
        ". Correct config.json.");
  layers::MoELayerOptions mixture;
  mixture.num_experts = f.size("moe_num_experts");
  mixture.top_k = f.size("moe_top_k");
  mixture.router = router;
  mixture.expert = expert;
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm = "layernorm_scale";
  block.norm_epsilon = 1e-5;
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size");
  o.d_model = c.size("d_model");
  o.uniform.norm = block.norm;
  o.uniform.norm_epsilon = block.norm_epsilon;
  o.blocks = repeat(c.size("n_layers"), block);
  o.context_length = c.size("max_seq_len", 2048);
  c.only("tie_word_embeddings", {false}, "a tied head");
  return o;
}

NameMap names(const DecoderOptions&) {
  const std::string theirs = "transformer.blocks.{i}.", ours = "layers.{i}.";
  const std::string attention = ours + "attention.", experts = theirs + "ffn.experts.mlp.";
  return {same("transformer.wte.weight", "embedding"),
          same("transformer.norm_f.weight", "norm.scale"),
          same("lm_head.weight", "head"),
          same(theirs + "norm_attn_norm.norm_1.weight", ours + "attention_norm.scale"),
          same(theirs + "norm_attn_norm.norm_2.weight", ours + "ffn_norm.scale"),
          fused(theirs + "norm_attn_norm.attn.Wqkv.weight",
                {{attention + "w_q"}, {attention + "w_k"}, {attention + "w_v"}}),
          same(theirs + "norm_attn_norm.attn.out_proj.weight", attention + "w_o"),
          same(theirs + "ffn.router.layer.weight", ours + "moe.router.weight"),
          arranged(part(experts + "w1", ours + "moe.experts.w_in", kGate), flattened()),
          arranged(part(experts + "v1", ours + "moe.experts.w_in", kUp), flattened()),
          arranged(transposed(same(experts + "w2", ours + "moe.experts.w_out")), flattened())};
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table a, f;
  a.set("kv_n_heads", attention.kv_heads);
  a.set("clip_qkv", attention.clip > 0 ? Value(attention.clip) : Value());
  a.set("rope_theta", attention.rope.theta);
  f.set("ffn_hidden_size", parts.expert.d_ff);
  f.set("moe_num_experts", parts.mixture.num_experts);
  f.set("moe_top_k", parts.mixture.top_k);
  const auto router = kind_options<TopKRouter>(parts.mixture.router);
  f.set("moe_normalize_expert_weights", router.renormalise ? Value(router.norm) : Value());
  f.set("ffn_act_fn", table_of({{"name", hf_activation(parts.expert.activation)}}));
  Table out = table_of({{"architectures", Array{"DbrxForCausalLM"}},
                        {"model_type", "dbrx"},
                        {"vocab_size", o.vocabulary},
                        {"d_model", o.d_model},
                        {"n_layers", parts.layers()},
                        {"n_heads", attention.heads},
                        {"max_seq_len", o.context_length},
                        {"tie_word_embeddings", false},
                        {"attn_config", std::move(a)},
                        {"ffn_config", std::move(f)}});
  out.set("rope_theta", attention.rope.theta);  // transformers passes over that of attn_config
  Table rope;
  write_rope(rope, attention.rope);
  if (const Value* scaling = rope.find("rope_scaling")) out.set("rope_scaling", *scaling);
  return out;
}

}  // namespace dbrx

MOE_FAMILY(dbrx)

}  // namespace moe::models
