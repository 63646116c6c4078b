#include <moe/generation/switch_length.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/mixers/latent_attention.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/family.h>

namespace moe::generation {

int64_t switch_length(const models::ModelSpec& spec) {
  if (spec.architecture != "decoder") return 0;
  for (const auto& block : models::options_of<models::DecoderOptions>(spec).block_specs()) {
    const auto& mixer = block.mixer;
    const Rope rope =
        mixer.kind == "attention"          ? models::kind_options<Attention>(mixer).rope
        : mixer.kind == "latent_attention" ? models::kind_options<LatentAttention>(mixer).rope
        : mixer.kind == "routed_attention" ? models::kind_options<RoutedAttention>(mixer).rope
                                           : Rope();
    if (rope.kind != "none" && rope.scaling == "longrope") return rope.original_length;
  }
  return 0;
}

}  // namespace moe::generation
