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

/// Whether `tensor` is state that has no rows until a model starts or is loaded, so that it takes
/// as many as a checkpoint holds: what was made from a file outside (a table from counts, a
/// recording) and is a part of the model from then on.
bool is_of_any_length(const Parameter& tensor);

/// What load_tensors does about state of any length that is not in the checkpoint, as in those of
/// versions that read its file each time.
enum class Missing {
  kRefuse,
  kMakeAnew,  // from the files that the configuration names, as a new model would
};

/// Copies what add_tensors wrote into `tensors`, in place, casting to their dtype; every rank takes
/// its experts. Those without memory (on the device "meta") are given it first. Throws moe::Error
/// listing the names that are unknown, missing or of another shape; nothing is copied then.
void load_tensors(const Path& folder, const std::string& prefix, const Parameters& tensors,
                  parallel::Communicator& group, Missing missing = Missing::kRefuse);

}  // namespace moe::checkpoint
