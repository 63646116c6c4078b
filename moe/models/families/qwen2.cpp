// Qwen2 (Yang et al. 2024), as transformers keeps it: Llama with biases of queries, keys and
// values.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace qwen2 {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout"});  // in training only
  Attention attention = llama_attention(c, 10000, 32);
  attention.bias = true;
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
  return dense_llama_names(o);
}

Table config(const DecoderOptions& o) {
  Table out = dense_llama_config(o, "Qwen2ForCausalLM", "qwen2");
  write_qwen_windows(out, DecoderParts(o));
  return out;
}

}  // namespace qwen2

MOE_FAMILY(qwen2)

}  // namespace moe::models
