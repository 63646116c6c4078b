// FlexOlmo (Shi et al. 2025), as transformers keeps it: OLMo 2's blocks, whose norms stand behind
// both halves, with OLMoE's experts.
#include <moe/models/llama_family.h>

namespace moe::models {

namespace flex_olmo {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  DecoderOptions o = olmo_decoder(c, 500000, 1e-6);
  for (auto& block : o.blocks) block.norm_position = "output";
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = sandwich_names(o, "", "post_feedforward_layernorm");
  add_gate(out, theirs, ours);
  add_named_experts(out, theirs, ours);
  return out;
}

Table config(const DecoderOptions& o) {
  return olmo_config(o, "FlexOlmoForCausalLM", "flex_olmo");
}

}  // namespace flex_olmo

MOE_FAMILY(flex_olmo)

}  // namespace moe::models
