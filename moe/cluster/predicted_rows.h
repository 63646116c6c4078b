#pragma once
// What the exchange sends under a placement, as a forecast. E experts, W ranks, R ranks a node.

#include <moe/cluster/replication.h>

namespace moe::cluster {

/// Rows one way of one forward pass of a layer, which sends a row for each expert of a token.
struct PredictedRows {
  /// Rows a token to another rank than its own, and to another node.
  double between_ranks = 0, between_nodes = 0;
  /// Rows on the busiest rank over the mean.
  double busiest_rank = 1;

  bool operator==(const PredictedRows&) const = default;
};

/// For tokens that are like those of `traffic`, of which each rank has 1 / W whatever they choose:
/// with K pairs a token, between_ranks = K (1 - 1 / W) and between_nodes = K (1 - R / W). Rows on
/// rank r are the pairs of its experts, each over the ranks that hold it. Rows on each rank are
/// exact for the traffic's own tokens where no expert has replicas, and with them but for one row
/// an expert and sending rank; what crosses ranks is exact where each rank's tokens choose as all
/// do. Throws moe::Error for a placement that is not one of the traffic's experts.
PredictedRows predict_rows(const Traffic& traffic, const Placement& placement,
                           const std::vector<Replica>& replicas, int64_t ranks,
                           int64_t ranks_per_node);

}  // namespace moe::cluster
