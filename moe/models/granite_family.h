#pragma once
// What families of Granite models with Mixture-of-Experts layers have in common (Granite 3).

#include <moe/models/moe_family.h>

namespace moe::models {

/// The model of config.json: Llama's with four multipliers, experts in every layer and beside them
/// a block of `shared` hidden units (0: none).
DecoderOptions granite_decoder(const HfConfig& c, int64_t shared);
NameMap granite_names(const DecoderOptions& options);
/// config.json but for the shared block.
Table granite_config(const DecoderOptions& options, const char* architecture,
                     const char* model_type);

/// A divisor whose reciprocal is `factor`, exactly where there is one.
double divisor_of(double factor);

}  // namespace moe::models
