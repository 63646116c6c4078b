// DeepSeek-V3.2 (DeepSeek-AI 2025): DeepSeek-V3 with sparse attention in every layer.
#include <moe/models/latent_family.h>

namespace moe::models {

namespace deepseek_v32 {

DecoderOptions options(const HfConfig& c) {
  LatentAttention attention = sparse_attention_of(c);
  attention.indexer = indexer_of(c, /*interleaved=*/false);
  const auto mixture = sigmoid_mixture_of(c, {.scale = 2.5, .groups = 8, .kept_groups = 4});
  return latent_decoder(c, attention, mixture, 3, 1e-6);
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o);
}

Table config(const DecoderOptions& o) {
  return sparse_config(o, "DeepseekV32ForCausalLM", "deepseek_v32");
}

}  // namespace deepseek_v32

MOE_FAMILY(deepseek_v32)

}  // namespace moe::models
