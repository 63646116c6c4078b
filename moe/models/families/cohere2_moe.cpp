// Command A with Mixture-of-Experts layers (Cohere 2026), as transformers keeps it: attention and
// feed-forward read the same norm, and full attention has no positions.
#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace cohere2_moe {

constexpr const char *kSoftmax = "softmax", *kSigmoid = "sigmoid";
constexpr const char *kDense = "dense", *kSparse = "sparse";
constexpr const char *kAverage = "average", *kSum = "sum";

/// Over the chosen scores alone.
RouterSpec router(const HfConfig& c) {
  c.only("expert_selection_fn", {kSoftmax, kSigmoid}, "another rule of selection");
  if (c.text("expert_selection_fn", kSoftmax) == kSoftmax) {
    c.ignore({"norm_topk_prob"});
    TopKRouter out;
    out.softmax = "after";
    return out;
  }
  SigmoidRouter out;
  out.renormalise = c.flag("norm_topk_prob", true);
  out.selection_bias = false;
  out.bias_rate = 0;
  return out;
}

layers::MoELayerOptions mixture(const HfConfig& c) {
  const int64_t width = c.size("intermediate_size"), shared = c.count("num_shared_experts", 0);
  const char* strategy = "shared_expert_combination_strategy";
  c.only(strategy, {kAverage, kSum}, "another way to join the shared experts");
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_experts", 8);
  out.top_k = c.size("num_experts_per_tok", 2);
  out.router = router(c);
  out.expert = expert_of(c, width);
  out.balance = balance_of(c);
  out.shared = shared_experts(c, shared, width);
  if (shared > 0 && c.text(strategy, kAverage) == kAverage) out.output_scale = 0.5;
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore(
      {"cache_implementation", "layer_switch", "use_embedding_sharing", "use_parallel_embedding"});
  c.only("position_embedding_type", {"rope_gptj"}, "other positions");
  c.only("order_of_interleaved_layers", {"local_attn_first"}, "another order");
  c.only("rotary_pct", {1}, "heads that turn in part");
  for (const char* on : {"use_gated_activation", "use_parallel_block"})
    c.only(on, {true}, "that part of the architecture");
  c.only("use_qk_norm", {false}, "norms of queries and keys");
  Attention attention = llama_attention(c, 10000);
  attention.head_dim = head_dim_of(c, 128);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.wiring = "parallel";
  block.norm = c.has("rms_norm_eps") ? "rmsnorm" : "layernorm_scale";
  block.norm_epsilon = c.number("rms_norm_eps", c.number("layer_norm_eps", 1e-5));
  DecoderOptions o = llama_decoder(c, block);
  o.uniform.norm = block.norm;
  o.context_length = context_length_of(c, attention.rope, 8192);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.logit_scale = c.number("logit_scale", 0.0625);
  const int64_t prefix = c.count("first_k_dense_replace", 0),
                prefix_step = c.size("prefix_dense_sliding_window_pattern", 1),
                step = c.size("sliding_window_pattern", 4), window = c.size("sliding_window", 4096);
  const auto full = full_layers(c, [&](int64_t i) {
    return i < prefix ? (i + 1) % prefix_step == 0 : (i - prefix + 1) % step == 0;
  });
  const auto kinds =
      c.texts("mlp_layer_types", static_cast<int64_t>(o.blocks.size()), {kDense, kSparse});
  const layers::FeedForwardSpec experts = mixture(c);
  const layers::FeedForwardSpec dense =
      dense_of(c, c.size("prefix_dense_intermediate_size", c.size("intermediate_size")));
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    const bool is_dense = kinds.empty() ? static_cast<int64_t>(i) < prefix : kinds[i] == kDense;
    const bool turns = !full[i] || (is_dense && prefix_step == 1);
    attention.window = full[i] ? 0 : window;
    attention.rope.kind = turns ? "interleaved" : "none";
    o.blocks[i].mixer = attention;
    o.blocks[i].feed_forward = is_dense ? dense : experts;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  out.add(same("model.layers.{i}.input_layernorm.weight", "layers.{i}.norm.scale"));
  add_deepseek_mixture(out);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  const Table llama = llama_config(o, "Cohere2MoeForCausalLM", "cohere2_moe");
  Table out = without_rope(llama), rope;
  // transformers reads the scaling of the family from this table alone.
  if (const Value* scaling = llama.find("rope_scaling")) rope = *scaling->as<Table>();
  rope.set("rope_theta", attention.rope.theta);
  out.set("rope_parameters", std::move(rope));
  const auto& block = parts.blocks.front();
  const bool centred = block.norm == "layernorm_scale";
  out.set("layer_norm_eps", block.norm_epsilon);
  out.set("rms_norm_eps", centred ? Value() : Value(block.norm_epsilon));
  out.set("logit_scale", o.logit_scale);
  out.set("attention_bias", attention.bias);
  write_windows(out, parts);
  Array kinds;
  int64_t prefix_step = 1;
  for (size_t i = 0; i < parts.blocks.size(); ++i) {
    kinds.emplace_back(parts.sparse[i] ? kSparse : kDense);
    const Attention own = parts.attention(i);
    if (!parts.sparse[i] && own.window == 0 && own.rope.kind == "none") prefix_step = 2;
  }
  out.set("mlp_layer_types", std::move(kinds));
  out.set("prefix_dense_sliding_window_pattern", prefix_step);
  out.set("prefix_dense_intermediate_size", parts.dense.d_ff);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("num_shared_experts", parts.shared_count());
  out.set("shared_expert_combination_strategy",
          parts.mixture.output_scale == 0.5 ? kAverage : kSum);
  const bool sigmoid = parts.mixture.router.kind == kSigmoid;
  out.set("expert_selection_fn", sigmoid ? kSigmoid : kSoftmax);
  out.set("norm_topk_prob",
          !sigmoid || kind_options<SigmoidRouter>(parts.mixture.router).renormalise);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  return out;
}

}  // namespace cohere2_moe

MOE_FAMILY(cohere2_moe)

}  // namespace moe::models
