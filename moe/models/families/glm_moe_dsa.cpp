// GLM-5 (Zhipu 2026): DeepSeek-V3.2 whose indexers turn numbers in pairs, and whose layers may
// share the choice of an earlier one.
#include <algorithm>

#include <moe/base/error.h>
#include <moe/models/latent_family.h>

namespace moe::models {

namespace glm_moe_dsa {

constexpr const char *kFullIndexer = "full", *kSharedIndexer = "shared";

/// For each layer whether it shares an earlier one's choice: from indexer_types, or a text of F and
/// S, or else by frequency.
std::vector<bool> shared_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers");
  std::vector<bool> out;
  const std::string pattern = c.text("index_topk_pattern", "");
  const int64_t every = std::max<int64_t>(1, c.count("index_topk_freq", 1)),
                offset = c.count("index_skip_topk_offset", 2);
  for (const auto& kind : c.texts("indexer_types", layers, {kFullIndexer, kSharedIndexer}))
    out.push_back(kind == kSharedIndexer);
  if (out.empty() && !pattern.empty()) {
    check(static_cast<int64_t>(pattern.size()) == layers &&
              pattern.find_first_not_of("FS") == std::string::npos,
          "models/config.json", "expected ", layers, " letters F or S at 'index_topk_pattern' in ",
          c.source(), ", got '", pattern, "'. Correct the file.");
    for (const char letter : pattern) out.push_back(letter == 'S');
  }
  if (out.empty())
    for (int64_t i = 0; i < layers; ++i)
      out.push_back(std::max<int64_t>(i - offset + 1, 0) % every != 0);
  check(!out.front(), "models/config.json", "expected a first layer with an indexer of its own in ",
        c.source(), ", got one that shares. Correct the file.");
  return out;
}

DecoderOptions options(const HfConfig& c) {
  // Routers run in float32 in any case; the other is about predicting further tokens.
  c.ignore({"moe_router_dtype", "index_share_for_mtp_iteration"});
  LatentAttention attention = sparse_attention_of(c);
  attention.indexer = indexer_of(c, /*interleaved=*/true);
  LatentAttention sharing = attention;
  sharing.indexer = {};
  sharing.indexer.top_k = attention.indexer.top_k;
  sharing.indexer.shared = true;
  const auto mixture = sigmoid_mixture_of(c, {.scale = 2.5});
  DecoderOptions o = latent_decoder(c, attention, mixture, 3, 1e-5);
  const auto shared = shared_layers(c);
  for (size_t i = 0; i < o.blocks.size(); ++i)
    if (shared[i]) o.blocks[i].mixer = sharing;
  return o;
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o);
}

Table config(const DecoderOptions& o) {
  Table out = sparse_config(o, "GlmMoeDsaForCausalLM", "glm_moe_dsa");
  Array kinds;
  for (const auto& block : o.block_specs())
    kinds.emplace_back(kind_options<LatentAttention>(block.mixer).indexer.shared ? kSharedIndexer
                                                                                 : kFullIndexer);
  out.set("indexer_types", std::move(kinds));
  return out;
}

}  // namespace glm_moe_dsa

MOE_FAMILY(glm_moe_dsa)

}  // namespace moe::models
