#pragma once
// E experts, L experts on this rank.

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/checkpoint/publish.h>
#include <moe/parallel/communicator.h>

namespace moe::checkpoint {

using at::Tensor;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Adds `tensors` to a checkpoint: "PREFIX.safetensors" for what all tokens share, and for each
/// stack of experts (parallel::is_expert_parameter: (L, …) here, (E, …) over all ranks) one file a
/// group of experts, "PREFIX.NAME.FIRST-LAST.safetensors"; parameters of single experts
/// (parallel::single_expert), each on one rank, go together into "PREFIX.experts.safetensors". The
/// files do not depend on the number of ranks.
///
/// All ranks of `group` call it; rank 0 passes the publication, the others null.
void add_tensors(Publication* publication, const std::string& prefix, const NamedTensors& tensors,
                 parallel::Communicator& group);

/// Copies what add_tensors wrote into `tensors`, in place, casting to their dtype; every rank takes
/// its experts. Throws moe::Error listing the names that are unknown, missing or of another shape;
/// nothing is copied then.
void load_tensors(const Path& folder, const std::string& prefix, const NamedTensors& tensors,
                  parallel::Communicator& group);

}  // namespace moe::checkpoint
