#pragma once
// Placements of a model's layers as a file: docs/planning.md.

#include <optional>

#include <moe/base/files.h>
#include <moe/cluster/predicted_rows.h>
#include <moe/cluster/replication.h>

namespace moe::cluster {

/// One MoE layer: which rank holds which expert, and copies of hot ones beside.
struct PlacedLayer {
  int64_t layer = 0;
  Placement rank_E = {};
  std::vector<Replica> replicas = {};
  /// What the tokens that the placement was made from would send; training says beside it what its
  /// own do send.
  std::optional<PredictedRows> predicted = {};
};

struct PlacementFile {
  int64_t ranks = 1;
  int64_t ranks_per_node = 1;
  std::vector<PlacedLayer> layers = {};
};

/// JSON:
///
///   {"format": "moe-expert-placement", "version": 1, "ranks": W, "ranks_per_node": R,
///    "layers": [{"layer": I, "rank_of_expert": [r, …], "replicas": [{"expert": e, "ranks": [r,
///    …]}], "predicted": {"between_ranks": x, "between_nodes": x, "busiest_rank": x}}]}
///
/// layer is the number of the block; rank_of_expert has a rank for each of its experts; replicas
/// name the ranks of experts that lie on several, the one of rank_of_expert first; predicted may be
/// left out.
std::string write_placement(const PlacementFile& placement);

/// Reads what write_placement wrote. Throws moe::Error, naming `source_name`, for anything else:
/// other fields, ranks that are not there, layers twice, replicas that do not fit.
PlacementFile parse_placement(std::string_view text, const std::string& source_name);
PlacementFile read_placement(const Path& path);
/// The text of a file that parse_placement takes; throws moe::Error for one that is too large.
std::string placement_text(const Path& path);

}  // namespace moe::cluster
