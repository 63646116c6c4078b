// DeepSeekMoE 16B (Dai et al. 2024), as its own code computes it.
#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace deepseek {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.only("scoring_func", {"softmax"}, "another rule of selection");
  Attention attention = llama_attention(c, 10000);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  block.feed_forward = dense_of(c, c.size("intermediate_size"));
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  if (!c.has("n_routed_experts")) {
    c.ignore({"n_shared_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
              "first_k_dense_replace", "moe_layer_freq"});
    return o;
  }
  TopKRouter router;
  // A single choice keeps its probability.
  router.renormalise = c.flag("norm_topk_prob", false) && c.size("num_experts_per_tok") > 1;
  if (router.renormalise) router.epsilon = 1e-20;
  const layers::FeedForwardSpec mixture = mixture_of(c, router, 0);
  const int64_t first = c.count("first_k_dense_replace", 0), every = c.size("moe_layer_freq", 1);
  for (size_t i = 0; i < o.blocks.size(); ++i)
    if (const auto layer = static_cast<int64_t>(i); layer >= first && layer % every == 0)
      o.blocks[i].feed_forward = mixture;
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  add_deepseek_mixture(out);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "DeepseekForCausalLM", "deepseek");
  out.set("attention_bias", parts.attention(0).bias);
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("hidden_act", hf_activation(parts.dense.activation));
  const int64_t first = parts.dense_prefix();
  if (first == parts.layers()) return out;
  write_mixture(out, parts);
  out.set("norm_topk_prob", kind_options<TopKRouter>(parts.mixture.router).renormalise);
  out.set("scoring_func", "softmax");
  out.set("first_k_dense_replace", first);
  out.set("moe_layer_freq", parts.sparse_step());
  return out;
}

}  // namespace deepseek

MOE_FAMILY(deepseek)

}  // namespace moe::models
