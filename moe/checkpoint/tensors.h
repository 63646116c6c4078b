#pragma once
// E experts, L experts on this rank.

#include <string>

#include <moe/checkpoint/publish.h>
#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::checkpoint {

/// Adds this rank's part of `tensors` to a checkpoint that all ranks of `layout` write, each what
/// it holds: nothing travels. Their infos say what is what.
///
/// - What all tokens share: "PREFIX.safetensors", by rank 0.
/// - Stacks of experts ((L, …) here where they are sharded, (E, …) over all ranks): one file a
/// group of
///   experts, "PREFIX.NAME.FIRST-LAST.safetensors", of at most 16 that begin at a multiple of 16 or
///   at a rank's first expert, by the first ranks that hold them.
/// - What belongs to single experts: "PREFIX.experts.safetensors",
/// "PREFIX.experts-RANK.safetensors" where
///   ranks share them, by the same ranks.
/// - What is on one rank only: "PREFIX.rank-RANK.safetensors", and what is a part of a tensor
///   "PREFIX.NAME.FIRST-LAST.safetensors".
///
/// Other layouts make other files of the same tensors, which load_tensors reads into any layout.
/// Makes no collective call: publish_together says how ranks make one checkpoint of it.
void add_tensors(FolderWriter& writer, const std::string& prefix, const Parameters& tensors,
                 const parallel::Layout& layout = {});

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
/// its own rows, from whatever layout wrote them, and of the files only these. Those without memory
/// (on the device "meta") are given it first. Throws moe::Error listing the names that are unknown,
/// missing or of another shape; nothing is copied then.
void load_tensors(const Path& folder, const std::string& prefix, const Parameters& tensors,
                  const parallel::Layout& layout = {}, Missing missing = Missing::kRefuse);

}  // namespace moe::checkpoint
