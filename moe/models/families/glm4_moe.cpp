// GLM-4.5 (Zhipu 2025), as transformers keeps it: half of each head turned, DeepSeek-V3's experts.
#include <algorithm>

#include <moe/models/moe_family.h>

namespace moe::models {

namespace glm4_moe {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.only("moe_layer_freq", {1}, "dense layers between those with experts");
  // Layers behind the model's own, and what only dense layers read.
  c.ignore({"num_mtp_layers", "num_nextn_predict_layers", "intermediate_size"});
  Attention attention = llama_attention(c, 10000);
  attention.rope = rope_of(c, 10000, nullptr, 0.5);
  attention.bias = c.flag("attention_bias", false);
  if (c.flag("use_qk_norm", false)) attention.qk_norm = "head";
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture_of(c, sigmoid_router_of(c), 1);
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 131072);
  const auto dense = static_cast<size_t>(c.count("first_k_dense_replace", 1));
  for (size_t i = 0; i < std::min(dense, o.blocks.size()); ++i)
    o.blocks[i].feed_forward = dense_of(c, c.size("intermediate_size"));
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  add_qk_norms(out);
  add_deepseek_mixture(out);
  skip_prediction_layers(out, static_cast<int64_t>(o.block_specs().size()));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, "Glm4MoeForCausalLM", "glm4_moe");
  out.set("partial_rotary_factor", attention.rope.share);
  out.set("attention_bias", attention.bias);
  out.set("use_qk_norm", attention.qk_norm == "head");
  out.set("intermediate_size", parts.dense.d_ff);
  write_mixture(out, parts);
  write_sigmoid_router(out, parts.mixture);
  out.set("first_k_dense_replace", parts.dense_prefix());
  out.set("num_nextn_predict_layers", 0);
  return out;
}

}  // namespace glm4_moe

MOE_FAMILY(glm4_moe)

}  // namespace moe::models
