// GLM-4.7 Flash (Zhipu 2025), as transformers keeps it: DeepSeek-V3 with a first layer that is
// dense.
#include <moe/models/latent_family.h>

namespace moe::models {

namespace glm4_moe_lite {

DecoderOptions options(const HfConfig& c) {
  const auto mixture = sigmoid_mixture_of(c, {.scale = 1.8});
  return latent_decoder(c, latent_attention_of(c, 10000), mixture, 1, 1e-5);
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o);
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = latent_config(o, "Glm4MoeLiteForCausalLM", "glm4_moe_lite");
  write_sigmoid_mixture(out, parts);
  return out;
}

}  // namespace glm4_moe_lite

MOE_FAMILY(glm4_moe_lite)

}  // namespace moe::models
