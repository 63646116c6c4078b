// Qwen3 (Yang et al. 2025), as transformers keeps it: Llama with norms of queries and keys.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace qwen3 {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout"});  // in training only
  Attention attention = llama_attention(c, 10000, 32);
  attention.head_dim = head_dim_of(c, 128);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  attention.qk_norm = "head";
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense_of(c, c.size("intermediate_size"));
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 32768);
  read_qwen_windows(o, c);
  return o;
}

NameMap names(const DecoderOptions& o) {
  NameMap out = dense_llama_names(o);
  add_qk_norms(out);
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = dense_llama_config(o, "Qwen3ForCausalLM", "qwen3");
  out.set("attention_bias", parts.attention(0).bias);
  write_qwen_windows(out, parts);
  return out;
}

}  // namespace qwen3

MOE_FAMILY(qwen3)

}  // namespace moe::models
