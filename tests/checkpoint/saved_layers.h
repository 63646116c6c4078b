#pragma once
// Layers that ranks write together, and the files they leave.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <moe/base/files.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/tensors.h>
#include <moe/checkpoint/together.h>
#include <moe/parallel/layout.h>
#include <moe/parallel/threads.h>

namespace moe::test {

/// What a rank of a layout holds of a layer.
using LayerOf = std::function<Parameters(const parallel::Layout&)>;

/// `ranks` ranks write the layer as "model"; groups of `experts` of them share its experts.
inline void save_layer(const LayerOf& layer_of, const Path& folder, int64_t ranks,
                       int64_t experts = 0) {
  parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    const auto layout = parallel::Layout::of(group, experts);
    checkpoint::publish_together(folder, *group,
                                 [&](checkpoint::FolderWriter& writer) {
                                   checkpoint::add_tensors(writer, "model", layer_of(layout),
                                                           layout);
                                 },
                                 {});
  });
}

/// The files of a whole checkpoint by name.
inline std::map<std::string, std::string> files_of(const Path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : checkpoint::verify_manifest(folder).files)
    out[name] = read_file(real_files(), folder / name, 1u << 20);
  return out;
}

}  // namespace moe::test
