// LLaMA (Touvron et al. 2023) and the dense models that follow it, as transformers keeps them.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace llama {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout",  // in training only
            "pretraining_tp"});   // products cut into as many, whose sum is the same
  Attention attention = llama_attention(c, 10000);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  Dense dense = dense_of(c, c.size("intermediate_size"));
  dense.bias = c.flag("mlp_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  return o;
}

NameMap names(const DecoderOptions& o) {
  return dense_llama_names(o);
}

Table config(const DecoderOptions& o) {
  Table out = dense_llama_config(o, "LlamaForCausalLM", "llama");
  const DecoderParts parts(o);
  out.set("attention_bias", parts.attention(0).bias);
  out.set("mlp_bias", parts.dense.bias);
  return out;
}

}  // namespace llama

MOE_FAMILY(llama)

}  // namespace moe::models
