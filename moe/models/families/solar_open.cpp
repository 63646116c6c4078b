// Solar Open (Upstage 2025), as transformers keeps it: Llama's attention, DeepSeek-V3's experts in
// every layer.
#include <moe/models/moe_family.h>

namespace moe::models {

namespace solar_open {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.only("moe_layer_freq", {1}, "dense layers between those with experts");
  // Of layers behind the model's own, and of dense ones, which there are none of.
  c.ignore({"num_mtp_layers", "num_nextn_predict_layers", "intermediate_size"});
  c.only("first_k_dense_replace", {0}, "dense layers");
  c.only("use_qk_norm", {false}, "norms of queries and keys");
  Attention attention = llama_attention(c, 1e6);
  attention.head_dim = head_dim_of(c, 128);
  attention.bias = c.flag("attention_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture_of(c, sigmoid_router_of(c), 1);
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 131072);
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = llama_names(o);
  add_deepseek_mixture(out);
  skip_prediction_layers(out, static_cast<int64_t>(o.block_specs().size()));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "SolarOpenForCausalLM", "solar_open");
  out.set("attention_bias", parts.attention(0).bias);
  write_mixture(out, parts);
  write_sigmoid_router(out, parts.mixture);
  return out;
}

}  // namespace solar_open

MOE_FAMILY(solar_open)

}  // namespace moe::models
