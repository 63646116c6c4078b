#pragma once
// Placements of a model's layers as a file: docs/planning.md.

#include <moe/base/files.h>
#include <moe/cluster/replication.h>

namespace moe::cluster {

/// One MoE layer: which rank holds which expert, and copies of hot ones beside.
struct PlacedLayer {
  int64_t layer = 0;
  Placement rank_E = {};
  std::vector<Replica> replicas = {};
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
///    …]}]}]}
///
/// layer is the number of the block; rank_of_expert has a rank for each of its experts; replicas
/// name the ranks of experts that lie on several, the one of rank_of_expert first.
std::string write_placement(const PlacementFile& placement);

/// Reads what write_placement wrote. Throws moe::Error, naming `source_name`, for anything else:
/// other fields, ranks that are not there, layers twice, replicas that do not fit.
PlacementFile parse_placement(std::string_view text, const std::string& source_name);
PlacementFile read_placement(const Path& path);

}  // namespace moe::cluster
