#pragma once
// Rules for parameters under the names of the directory that a model comes from.

#include <string>
#include <vector>

#include <moe/models/model.h>
#include <moe/parameters/list.h>
#include <moe/train/options.h>

namespace moe::train {

/// `groups`, of which those whose pattern fits none of our names, but tensors as checkpoints of
/// `family` name them ("model.layers.*.block_sparse_moe.gate"), are put in our names: one group for
/// each parameter, with the experts whose tensors it fits. Nothing changes where `family` is empty.
/// `tensors` are those of a model of `spec`, on this rank.
///
/// Throws ConfigError for a pattern that fits neither, with what is near it, and for one that fits
/// a part of what one parameter of ours holds (the gate and not the up projection), with the
/// tensors that are missing.
std::vector<ParameterGroup> in_our_names(const std::vector<ParameterGroup>& groups,
                                         const Parameters& tensors, const models::ModelSpec& spec,
                                         const std::string& family);

}  // namespace moe::train
