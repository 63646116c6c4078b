// LongCat-Flash (Meituan 2025): two latent attentions and two dense feed-forwards a layer while the
// experts, some of which give the token back, wait for its end.
#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/models/latent_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace longcat_flash {

/// sqrt(d_model / rank): what the normalised compressions are multiplied by.
double compression_scale(int64_t d_model, int64_t rank) {
  return rank == 0 ? 1 : std::sqrt(static_cast<double>(d_model) / static_cast<double>(rank));
}

/// Layers of two attentions; programs that count attentions write twice as many.
int64_t layers_of(const HfConfig& c) {
  const int64_t attentions = c.size("num_hidden_layers", 0);
  return c.size("num_layers", std::max<int64_t>(1, attentions / 2));
}

layers::MoELayerOptions mixture_of_longcat(const HfConfig& c) {
  c.only("zero_expert_type", {"identity"}, "other experts without parameters");
  c.only("router_bias", {false}, "a bias of the router, which its programs pass over");
  c.only("norm_topk_prob", {false}, "another rule of weights");
  TopKRouter router;
  router.renormalise = false;
  router.scale = c.number("routed_scaling_factor", 6);
  router.selection_bias = true;
  layers::MoELayerOptions out;
  out.num_experts = c.size("n_routed_experts");
  out.identity_experts = c.count("zero_expert_num", 0);
  out.top_k = c.size("moe_topk", c.size("num_experts_per_tok", 12));
  out.router = router;
  out.expert =
      expert_of(c, c.size("expert_ffn_hidden_size", c.size("moe_intermediate_size", 2048)));
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"num_nextn_predict_layers", "nextn_use_scmoe", "router_dtype"});
  c.only("attention_method", {"MLA"}, "another attention");
  c.only("rope_interleave", {true}, "another rotation");
  const int64_t width = c.size("hidden_size");
  LatentAttention attention = latent_attention_of(c, 1e7);
  if (c.flag("mla_scale_q_lora", true))
    attention.q_scale = compression_scale(width, attention.q_rank);
  if (c.flag("mla_scale_kv_lora", true))
    attention.kv_scale = compression_scale(width, attention.kv_rank);
  layers::BlockSpec block;
  block.wiring = "shortcut";
  block.mixer = attention;
  block.dense = dense_of(c, c.size("ffn_hidden_size", c.size("intermediate_size", 12288)));
  block.feed_forward = mixture_of_longcat(c);
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size");
  o.d_model = width;
  o.context_length = c.size("max_position_embeddings", 131072);
  o.uniform.norm_epsilon = block.norm_epsilon;
  o.blocks = repeat(layers_of(c), block);
  o.tied_embeddings = c.flag("tie_word_embeddings", false);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {
      same("model.embed_tokens.weight", "embedding"),
      same("model.norm.weight", "norm.scale"),
      o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"),
      same(theirs + "mlp.router.classifier.weight", ours + "moe.router.weight"),
      same(theirs + "mlp.router.e_score_correction_bias", ours + "moe.router.selection_bias"),
      ignored("model.mtp.*")};
  for (const bool second : {false, true}) {
    const std::string number = second ? "1" : "0", prefix = ours + (second ? "second_" : "");
    out.add(same(theirs + "input_layernorm." + number + ".weight",
                 prefix + "latent_attention_norm.scale"));
    out.add(
        same(theirs + "post_attention_layernorm." + number + ".weight", prefix + "ffn_norm.scale"));
    add_latent_attention(out, theirs + "self_attn." + number + ".", prefix + "latent_attention.");
    add_dense(out, theirs + "mlps." + number + ".", prefix + "dense.");
  }
  add_named_experts(out, theirs + "mlp.", ours + "moe.");
  // transformers also writes matrices for experts that have none.
  const auto mixture = kind_options<layers::MoELayerOptions>(o.block_specs().front().feed_forward);
  for (int64_t e = 0; e < mixture.identity_experts; ++e)
    out.add(ignored(concat("model.layers.*.mlp.experts.", mixture.num_experts + e, ".*")));
  return out;
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  const auto& block = blocks.front();
  const auto attention = kind_options<LatentAttention>(block.mixer);
  const auto mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
  const auto router = kind_options<TopKRouter>(mixture.router);
  const auto expert = kind_options<GatedExpert>(mixture.expert);
  Table out = latent_config(o, "LongcatFlashForCausalLM", "longcat_flash");
  out.set("num_layers", static_cast<int64_t>(blocks.size()));
  out.set("num_hidden_layers", static_cast<int64_t>(2 * blocks.size()));
  out.set("mla_scale_q_lora", attention.q_scale != 1);
  out.set("mla_scale_kv_lora", attention.kv_scale != 1);
  out.set("attention_method", "MLA");
  out.set("ffn_hidden_size", kind_options<Dense>(block.dense).d_ff);
  out.set("hidden_act", hf_activation(expert.activation));
  out.set("n_routed_experts", mixture.num_experts);
  out.set("zero_expert_num", mixture.identity_experts);
  out.set("zero_expert_type", "identity");
  out.set("moe_topk", mixture.top_k);
  out.set("expert_ffn_hidden_size", mixture.expert.d_ff);
  out.set("routed_scaling_factor", router.scale);
  out.set("router_bias", false);
  return out;
}

}  // namespace longcat_flash

MOE_FAMILY(longcat_flash)

}  // namespace moe::models
