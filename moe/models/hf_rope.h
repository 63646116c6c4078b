#pragma once
// Rotary positions in config.json, in either dialect.

#include <moe/layers/rope.h>
#include <moe/models/hf_config.h>

namespace moe::models {

/// Rotary positions of config.json: `rope_theta`, `partial_rotary_factor` and `rope_scaling` (of
/// `type` or `rope_type`) of published checkpoints, or all of them inside `rope_parameters` as
/// transformers 5 writes them. With `layer_kind` (full_attention, sliding_attention) those of
/// rope_parameters.KIND, where there is a table of that name. `default_theta` and `default_share`
/// count where the file says nothing. Of kind "halves": families that pair numbers otherwise say
/// so.
///
/// Throws moe::Error naming types of scaling and keys that are not known.
Rope rope_of(const HfConfig& config, double default_theta, const char* layer_kind = nullptr,
             double default_share = 1);

/// The keys that say `rope` in config.json, in the dialect of published checkpoints; with
/// `layer_kind` as the table rope_parameters.KIND.
void write_rope(Table& config, const Rope& rope, const char* layer_kind = nullptr);

}  // namespace moe::models
