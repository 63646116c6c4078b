// Gemma 4 with Mixture-of-Experts layers (Google 2026), as transformers keeps its language model.
#include <cmath>

#include <moe/models/moe_family.h>
#include <moe/routing/kinds/scaled_topk.h>

namespace moe::models {

namespace gemma4 {

constexpr int64_t kFullEvery = 6;  // without a list
constexpr const char* kActivation = "hidden_activation";

/// Of sliding layers; full ones change some of it.
Attention sliding_attention(const HfConfig& c) {
  Attention out;
  out.heads = c.size("num_attention_heads");
  out.kv_heads = c.size("num_key_value_heads", 4);
  out.head_dim = head_dim_of(c, 256);
  out.bias = out.output_bias = c.flag("attention_bias", false);
  out.scale = 1;
  out.qk_norm = "head";
  out.value_norm = true;
  out.window = c.size("sliding_window", 512);
  out.rope = rope_of(c, 1e4, kSlidingAttention);
  return out;
}

Attention full_attention(const HfConfig& c) {
  Attention out = sliding_attention(c);
  out.window = 0;
  out.head_dim =
      c.names("global_head_dim") ? c.size("global_head_dim", out.head_dim) : int64_t{512};
  out.shared_key_value = c.flag("attention_k_eq_v", false);
  const int64_t kv_heads = c.size("num_global_key_value_heads", out.kv_heads);
  if (out.shared_key_value) out.kv_heads = kv_heads;
  out.rope = rope_of(c, 1e6, kFullAttention);
  if (!c.has("rope_parameters")) {
    out.rope.scaling = "proportional";
    out.rope.share = 0.25;
  }
  return out;
}

/// transformers 5 writes per_layer_config, with what differs in each layer, instead of the keys of
/// full layers.
Attention attention_of(const HfConfig& c, size_t layer, bool is_full) {
  Attention out = is_full ? full_attention(c) : sliding_attention(c);
  if (!c.has("per_layer_config")) return out;
  const HfConfig own = c.inside("per_layer_config").inside(std::to_string(layer));
  const Attention all = sliding_attention(c);
  out.head_dim = own.size("head_dim", all.head_dim);
  out.kv_heads = own.size("num_key_value_heads", all.kv_heads);
  return out;
}

layers::MoELayerOptions mixture(const HfConfig& c, double norm_epsilon) {
  ScaledTopKRouter router;
  router.norm_epsilon = norm_epsilon;
  GatedExpert expert;
  Dense dense;
  expert.d_ff = c.size("moe_intermediate_size");
  dense.d_ff = c.size("intermediate_size");
  expert.activation = dense.activation =
      c.has(kActivation) ? activation_of(c, kActivation) : std::string("gelu_tanh");
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_experts");
  out.top_k = c.size("top_k_experts");
  out.router = router;
  out.expert = expert;
  out.shared = dense;
  out.branch_norms = true;
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"vocab_size_per_layer_input", "use_double_wide_mlp"});  // of parts refused here
  c.only("enable_moe_block", {true}, "layers without experts");
  c.only("hidden_size_per_layer_input", {0}, "embeddings of their own for each layer");
  c.only("num_kv_shared_layers", {0}, "layers that share keys and values");
  // Of images, among which tokens of text see each other as usual.
  c.only("use_bidirectional_attention", {"vision"}, "attention to later tokens");
  layers::BlockSpec block;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  block.norm_position = "both";
  block.feed_forward_norm_position = "output";
  block.output_scale = true;
  block.feed_forward = mixture(c, block.norm_epsilon);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 131072);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.embedding_scale = std::sqrt(static_cast<double>(o.d_model));
  o.logit_softcap = c.number("final_logit_softcapping", 0);
  auto full = full_layers(c, [](int64_t i) { return (i + 1) % kFullEvery == 0; });
  full.back() = true;  // whatever the list says
  for (size_t i = 0; i < o.blocks.size(); ++i) o.blocks[i].mixer = attention_of(c, i, full[i]);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.", mixture = ours + "moe.";
  // The feed-forward's own norm stands behind it only: each branch has one before it.
  NameMap out = sandwich_names(o, "", "post_feedforward_layernorm");
  for (const auto& [norm, name] : {std::pair{"pre_feedforward_layernorm", "shared_norm"},
                                   std::pair{"post_feedforward_layernorm_1", "shared_output_norm"},
                                   std::pair{"pre_feedforward_layernorm_2", "expert_norm"},
                                   std::pair{"post_feedforward_layernorm_2", "expert_output_norm"}})
    out.add(same(theirs + norm + ".weight", mixture + name + ".scale"));
  out.add(same(theirs + "layer_scalar", ours + "output_scale"));
  out.add(same(theirs + "router.proj.weight", mixture + "router.weight"));
  out.add(same(theirs + "router.scale", mixture + "router.scale"));
  out.add(same(theirs + "router.per_expert_scale", mixture + "router.expert_scale"));
  out.add(same(theirs + "experts.gate_up_proj", mixture + "experts.w_in"));
  out.add(same(theirs + "experts.down_proj", mixture + "experts.w_out"));
  add_dense(out, theirs + "mlp.", mixture + "shared.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Attention full = parts.attention(parts.blocks.size() - 1), sliding = full;
  for (size_t i = 0; i < parts.blocks.size(); ++i)
    if (const Attention own = parts.attention(i); own.window > 0) sliding = own;
  Table out = without_rope(llama_config(o, "Gemma4ForCausalLM", "gemma4_text"));
  out.set("num_key_value_heads", sliding.kv_heads);
  out.set("head_dim", sliding.head_dim);
  out.set("global_head_dim", full.head_dim);
  out.set("num_global_key_value_heads", full.kv_heads);
  out.set("attention_k_eq_v", full.shared_key_value);
  out.set("attention_bias", full.bias);
  write_windows(out, parts);
  // transformers wants a width also where no layer slides.
  if (out.find("sliding_window")->empty()) out.set("sliding_window", int64_t{512});
  write_rope(out, sliding.rope, kSlidingAttention);
  write_rope(out, full.rope, kFullAttention);
  out.set("intermediate_size", parts.shared.d_ff);
  out.set("moe_intermediate_size", parts.expert.d_ff);
  out.set("num_experts", parts.mixture.num_experts);
  out.set("top_k_experts", parts.mixture.top_k);
  out.set("enable_moe_block", true);
  out.set("hidden_size_per_layer_input", 0);
  out.set("num_kv_shared_layers", 0);
  out.set("final_logit_softcapping", o.logit_softcap > 0 ? Value(o.logit_softcap) : Value());
  out.set(kActivation, hf_activation(parts.expert.activation));
  return out;
}

}  // namespace gemma4

MOE_FAMILY(gemma4, "gemma4_text")

}  // namespace moe::models
