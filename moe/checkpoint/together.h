#pragma once
// One checkpoint that all ranks write. No shape letters.

#include <functional>
#include <map>
#include <string>

#include <moe/checkpoint/publish.h>
#include <moe/parallel/communicator.h>

namespace moe::checkpoint {

/// A Publication at `target` by all ranks of `world`: each calls `write` with a writer of its own,
/// at the same time as the others, and what all of them wrote is the checkpoint. `metadata` is rank
/// 0's, which makes the folder, checks what is there against what the others say they wrote, writes
/// the manifest last and gives the folder its name.
///
/// The file system is one for all ranks. All ranks call it; `write` makes no collective calls.
/// Where some ranks fail they throw what they failed of, the others a moe::Error that names them;
/// the checkpoint that was there is as it was then, or, where the last step alone failed, replaced
/// by the new one, whole.
void publish_together(const Path& target, parallel::Communicator& world,
                      const std::function<void(FolderWriter&)>& write,
                      std::map<std::string, std::string> metadata,
                      FileSystem& files = real_files());

}  // namespace moe::checkpoint
