// Mistral 7B (Jiang et al. 2023), as transformers keeps it: Llama with a sliding window.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace mistral {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout"});  // in training only
  Attention attention = llama_attention(c, 10000, 8);
  attention.window = window_of(c, 4096);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense_of(c, c.size("intermediate_size"));
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 4096 * 32);
  return o;
}

NameMap names(const DecoderOptions& o) {
  return dense_llama_names(o);
}

Table config(const DecoderOptions& o) {
  Table out = dense_llama_config(o, "MistralForCausalLM", "mistral");
  write_window(out, DecoderParts(o).attention(0));
  return out;
}

}  // namespace mistral

MOE_FAMILY(mistral)

}  // namespace moe::models
