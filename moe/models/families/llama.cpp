// LLaMA (Touvron et al. 2023) and the dense models that follow it, as transformers keeps them.
#include <moe/layers/feed_forwards/dense.h>
#include <moe/models/decoder_family.h>

namespace moe::models {

namespace llama {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout",  // in training only
            "pretraining_tp"});   // products cut into as many, whose sum is the same
  Attention attention = llama_attention(c, 10000);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  Dense dense;
  dense.d_ff = c.size("intermediate_size");
  dense.activation = activation_of(c, "hidden_act");
  dense.bias = c.flag("mlp_bias", false);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 2048);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.dense.";
  NameMap out = llama_names(o);
  for (const std::string kind : {"weight", "bias"}) {
    const std::string letter = kind == "weight" ? "w" : "b";
    out.add(part(theirs + "gate_proj." + kind, ours + letter + "_in", kGate));
    out.add(part(theirs + "up_proj." + kind, ours + letter + "_in", kUp));
    out.add(same(theirs + "down_proj." + kind, ours + letter + "_out"));
  }
  return out;
}

Table config(const DecoderOptions& o) {
  Table out = llama_config(o, "LlamaForCausalLM", "llama");
  const auto blocks = o.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto dense = kind_options<Dense>(blocks.front().feed_forward);
  out.set("intermediate_size", dense.d_ff > 0 ? dense.d_ff : 4 * o.d_model);
  out.set("attention_bias", attention.bias);
  out.set("mlp_bias", dense.bias);
  out.set("hidden_act", hf_activation(dense.activation));
  return out;
}

}  // namespace llama

MOE_FAMILY(llama)

}  // namespace moe::models
