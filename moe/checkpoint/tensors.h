#pragma once
// E experts, L experts on this rank.

#include <string>

#include <moe/checkpoint/publish.h>
#include <moe/parallel/communicator.h>
#include <moe/parameters/list.h>

namespace moe::checkpoint {

/// Adds `tensors` to a checkpoint: "PREFIX.safetensors" for what all tokens share, and for each
/// stack of experts ((L, …) here where it is sharded, (E, …) over all ranks) one file a group of
/// experts, "PREFIX.NAME.FIRST-LAST.safetensors"; what belongs to single experts, each on one rank,
/// goes together into "PREFIX.experts.safetensors". Their infos say which is which; the files do
/// not depend on the number of ranks.
///
/// All ranks of `group` call it; rank 0 passes the publication, the others null.
void add_tensors(Publication* publication, const std::string& prefix, const Parameters& tensors,
                 parallel::Communicator& group);

/// Copies what add_tensors wrote into `tensors`, in place, casting to their dtype; every rank takes
/// its experts. Those without memory (on the device "meta") are given it first. Throws moe::Error
/// listing the names that are unknown, missing or of another shape; nothing is copied then.
void load_tensors(const Path& folder, const std::string& prefix, const Parameters& tensors,
                  parallel::Communicator& group);

}  // namespace moe::checkpoint
