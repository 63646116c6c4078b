// dots.llm1 (rednote 2025), as transformers keeps it: norms of queries and keys, DeepSeek-V3's
// experts.
#include <moe/models/moe_family.h>

namespace moe::models {

namespace dots1 {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.only("moe_layer_freq", {1}, "dense layers between those with experts");
  Attention attention = llama_attention(c, 10000);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.qk_norm = "head";
  layers::BlockSpec block;
  block.mixer = attention;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  const layers::FeedForwardSpec mixture =
      mixture_of(c, sigmoid_router_of(c, {.renormalise = false}), 0);
  const layers::FeedForwardSpec dense = dense_of(c, c.size("intermediate_size"));
  const int64_t first_sparse = c.count("first_k_dense_replace", 0);
  const bool windows = c.flag("use_sliding_window", true) && c.has("sliding_window");
  const int64_t first_window = c.count("max_window_layers", 62),
                width = c.size("sliding_window", 4096);
  const auto full = full_layers(c, [&](int64_t i) { return !windows || i < first_window; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    attention.window = full[i] ? 0 : width;
    o.blocks[i].mixer = attention;
    o.blocks[i].feed_forward = static_cast<int64_t>(i) < first_sparse ? dense : mixture;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  add_qk_norms(out);
  add_deepseek_mixture(out);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "Dots1ForCausalLM", "dots1");
  out.set("attention_bias", parts.attention(0).bias);
  out.set("intermediate_size", parts.dense.d_ff);
  write_windows(out, parts);
  write_mixture(out, parts);
  write_sigmoid_router(out, parts.mixture);
  out.set("first_k_dense_replace", parts.dense_prefix());
  return out;
}

}  // namespace dots1

MOE_FAMILY(dots1)

}  // namespace moe::models
