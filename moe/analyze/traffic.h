#pragma once
// What a placement of experts is made for, from routed rows. E experts.

#include <vector>

#include <moe/analyze/routed_rows.h>
#include <moe/cluster/traffic.h>

namespace moe::analyze {

/// Adds up a cluster::Traffic for each MoE layer over rows, of the tokens that count.
class TrafficCollector {
 public:
  /// Throws moe::Error for rows of another model, and as cluster::TrafficBuilder does.
  void add(const RoutedRows& rows);
  /// One for each layer, in order; none without rows.
  std::vector<cluster::Traffic> finish() &&;

 private:
  std::vector<int64_t> layers_;
  std::vector<int64_t> experts_;
  std::vector<cluster::TrafficBuilder> builders_;
};

}  // namespace moe::analyze
