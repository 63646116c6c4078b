#pragma once
// How most families name their routers, experts and feed-forwards. No shape letters: names only.

#include <string>

#include <moe/models/name_map.h>

namespace moe::models {

// `theirs` and `ours` are the beginnings of the names, with {i} for the layer and the last dot:
// "model.layers.{i}.mlp." and "layers.{i}.moe.". Families named block_sparse_moe may also be stored
// under mlp, as transformers 5 calls it.

/// A router: theirs + "gate.weight" is ours + "router.weight".
void add_gate(NameMap& map, const std::string& theirs, const std::string& ours);

/// Gated experts, one tensor each: theirs + "experts.{e}." and gate_proj, up_proj, down_proj
/// (.weight) are ours + "experts.w_in" (gate over up) and "experts.w_out". Otherwise stacked:
/// experts.gate_up_proj (E, 2·I, D), gate first, and experts.down_proj (E, D, I).
void add_named_experts(NameMap& map, const std::string& theirs, const std::string& ours);

/// The same for families that are published as stacks: these are what is written.
void add_stacked_experts(NameMap& map, const std::string& theirs, const std::string& ours);

/// The same as add_named_experts with the names w1 (gate), w3 (up) and w2 (down).
void add_numbered_experts(NameMap& map, const std::string& theirs, const std::string& ours);

/// A gated feed-forward: theirs + gate_proj, up_proj and down_proj, weights and, where ours has
/// them, biases, are ours + "w_in", "w_out", "b_in", "b_out". For dense layers and shared experts.
void add_dense(NameMap& map, const std::string& theirs, const std::string& ours);

/// The same with the names w1 (gate), w3 (up) and w2 (down).
void add_numbered_dense(NameMap& map, const std::string& theirs, const std::string& ours);

}  // namespace moe::models
