// Mistral 4, as transformers keeps it: latent attention with YaRN and queries that grow with their
// position, softmax experts in groups scored by their best two.
#include <algorithm>

#include <moe/models/latent_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace mistral4 {

constexpr const char *kBeta = "llama_4_scaling_beta",
                     *kOriginal = "original_max_position_embeddings";

/// Where config.json has no rotary positions at all.
Rope default_rope() {
  Rope out;
  out.kind = "interleaved";
  out.scaling = "yarn";
  out.factor = 128;
  out.original_length = 8192;
  out.mscale = out.mscale_all_dim = 1;
  return out;
}

LatentAttention attention_of(const HfConfig& c) {
  LatentAttention out = latent_attention_of(c, 10000);
  bool described = c.has("rope_theta");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!c.has(key)) continue;
    described = true;
    const HfConfig table = c.inside(key);
    table.ignore({"max_position_embeddings"});
    out.temperature_scale = table.number(kBeta, out.temperature_scale);
    if (out.temperature_scale != 0) out.temperature_floor = table.number(kOriginal);
  }
  if (described) return out;
  out.rope = default_rope();
  out.temperature_scale = 0.1;
  out.temperature_floor = static_cast<double>(out.rope.original_length);
  return out;
}

DecoderOptions options(const HfConfig& c) {
  TopKRouter router;
  router.renormalise = c.flag("norm_topk_prob", true);
  if (router.renormalise) router.epsilon = 1e-20;
  router.scale = c.number("routed_scaling_factor", 1);
  router.groups = c.size("n_group", 1);
  router.kept_groups = c.size("topk_group", 1);
  if (router.groups == 1) router.kept_groups = 0;
  router.group_score = "best_two";
  return latent_decoder(c, attention_of(c), mixture_of(c, router, 1), 0, 1e-6);
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o, /*stacked=*/true);
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto router = kind_options<TopKRouter>(parts.mixture.router);
  const auto attention = kind_options<LatentAttention>(parts.blocks.front().mixer);
  Table out = latent_config(o, "Mistral4ForCausalLM", "mistral4");
  write_latent_mixture(out, parts);
  out.set("norm_topk_prob", router.renormalise);
  out.set("routed_scaling_factor", router.scale);
  out.set("n_group", router.groups);
  out.set("topk_group", std::max<int64_t>(router.kept_groups, 1));
  const Value* scaling = out.find("rope_scaling");
  Table rope = scaling ? *scaling->as<Table>() : table_of({{"rope_type", "default"}});
  if (attention.temperature_scale != 0) {
    rope.set(kBeta, attention.temperature_scale);
    rope.set(kOriginal, static_cast<int64_t>(attention.temperature_floor));
  }
  out.set("rope_scaling", std::move(rope));
  return out;
}

}  // namespace mistral4

MOE_FAMILY(mistral4)

}  // namespace moe::models
