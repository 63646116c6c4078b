#pragma once
// What Qwen3-Next and Qwen3.5 have in common: gated delta nets around gated attention, norms that
// multiply by 1 + scale, a shared block behind a sigmoid in every MoE layer.

#include <moe/models/hybrid_family.h>

namespace moe::models {

/// The model of config.json without its feed-forwards.
DecoderOptions qwen_hybrid_decoder(const HfConfig& c);
/// A MoE layer whose weights are renormalised where `renormalise`.
layers::MoELayerOptions qwen_hybrid_mixture(const HfConfig& c, bool renormalise);
/// All but the projections of the delta nets and the experts.
NameMap qwen_hybrid_names(const DecoderOptions& options);
Table qwen_hybrid_config(const DecoderOptions& options, const char* architecture,
                         const char* model_type);

}  // namespace moe::models
