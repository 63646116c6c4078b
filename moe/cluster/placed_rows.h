#pragma once
// The cost of a placement while experts are put on ranks and moved. E experts, W ranks, R ranks a
// node, N sets of experts.

#include <moe/cluster/placement.h>

namespace moe::cluster {

/// Counts of rows and pairs for experts placed so far; a move costs the sets of one expert.
class PlacedRows {
 public:
  /// Nothing is placed. `traffic` must outlive this.
  PlacedRows(const Traffic& traffic, const Cluster& cluster, const PlacementOptions& options);

  /// Puts `expert`, wherever it is, on `rank`; -1: takes it off.
  void move(int64_t expert, int32_t rank);
  void place(const Placement& placement);

  /// Of what is placed; the pairs of the others count in the mean of the load, not in the largest.
  PlacementCost cost() const;
  double seconds() const { return cost().seconds; }

  int32_t rank_of(int64_t expert) const { return rank_E_[static_cast<size_t>(expert)]; }
  const Placement& placement() const { return rank_E_; }
  int64_t experts_on(int64_t rank) const { return held_W_[static_cast<size_t>(rank)]; }
  int64_t ranks() const { return static_cast<int64_t>(held_W_.size()); }
  int64_t capacity() const { return capacity_; }
  int64_t work() const { return work_; }

 private:
  const Traffic& traffic_;
  const Cluster& cluster_;
  PlacementOptions options_;
  int64_t capacity_ = 0, ranks_per_node_ = 1, work_ = 0;
  double pairs_ = 0;
  Placement rank_E_;
  std::vector<int64_t> load_E_, held_W_;
  std::vector<double> load_W_, tokens_W_, tokens_nodes_;
  /// The sets that hold expert e: set_[begin_E_[e]] .. set_[begin_E_[e + 1]].
  std::vector<int64_t> begin_E_, set_;
};

/// The experts that a rank may hold.
int64_t capacity_of(const PlacementOptions& options, int64_t experts, int64_t ranks);

}  // namespace moe::cluster
