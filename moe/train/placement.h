#pragma once
// parallel.placement of a run. E experts, X ranks that share the experts of a layer.

#include <map>
#include <memory>
#include <string>

#include <moe/cluster/placement_file.h>
#include <moe/models/model.h>
#include <moe/parallel/layout.h>

namespace moe::train {

/// The placement of a run's layers.
struct RunPlacement {
  /// As layouts take it; null: experts lie in the order of their numbers.
  std::shared_ptr<const parallel::Placements> layers = {};
  /// By layer, where the file says it.
  std::map<int64_t, cluster::PredictedRows> predicted = {};
};

/// What parallel.placement names, "" for none, for the layers of `model` on the ranks of `layout`.
/// Rank 0 reads the file; all ranks call it. Throws ConfigError, naming the file, unless it is for
/// the ranks that share experts and places all experts of all layers that have some, and no others;
/// and what read_placement throws.
RunPlacement read_run_placement(const std::string& file, const models::ModelSpec& model,
                                const parallel::Layout& layout);

}  // namespace moe::train
