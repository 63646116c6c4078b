// OLMoE (Muennighoff et al. 2024), as transformers keeps it: norms of whole queries and keys.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace olmoe {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  DecoderOptions o = olmo_decoder(c, 10000, 1e-5);
  for (auto& block : o.blocks) {
    auto attention = kind_options<Attention>(block.mixer);
    attention.clip = c.number("clip_qkv", 0);
    block.mixer = attention;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  add_qk_norms(out);
  add_gate(out, theirs, ours);
  add_named_experts(out, theirs, ours);
  return out;
}

Table config(const DecoderOptions& o) {
  Table out = olmo_config(o, "OlmoeForCausalLM", "olmoe");
  const double clip = DecoderParts(o).attention(0).clip;
  out.set("clip_qkv", clip > 0 ? Value(clip) : Value());
  return out;
}

}  // namespace olmoe

MOE_FAMILY(olmoe)

}  // namespace moe::models
