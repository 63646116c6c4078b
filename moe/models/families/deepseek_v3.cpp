// DeepSeek-V3 and R1 (DeepSeek-AI 2024), Kimi K2: latent attention, sigmoid experts with a
// selection bias.
#include <moe/models/latent_family.h>

namespace moe::models {

namespace deepseek_v3 {

DecoderOptions options(const HfConfig& c) {
  const auto mixture = sigmoid_mixture_of(c, {.scale = 2.5, .groups = 8, .kept_groups = 4});
  return latent_decoder(c, latent_attention_of(c, 10000), mixture, 3, 1e-6);
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o);
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = latent_config(o, "DeepseekV3ForCausalLM", "deepseek_v3");
  write_sigmoid_mixture(out, parts);
  out.set("moe_layer_freq", parts.sparse_step());
  out.set("scoring_func", "sigmoid");
  out.set("topk_method", "noaux_tc");
  return out;
}

}  // namespace deepseek_v3

MOE_FAMILY(deepseek_v3, "kimi_k2")

}  // namespace moe::models
