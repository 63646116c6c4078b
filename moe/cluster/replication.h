#pragma once
// Which experts are worth a copy on further ranks. E experts, W ranks.

#include <moe/cluster/placement.h>

namespace moe::cluster {

/// An expert on several ranks, which share its tokens evenly.
struct Replica {
  int64_t expert = 0;
  /// Pairs of the expert over the mean pairs of a rank: above 1 no placement can balance it.
  double load = 0;
  /// The rank that the placement gives it, then those of the copies.
  std::vector<int32_t> ranks = {};
};

struct Replication {
  std::vector<Replica> replicas = {};
  /// Pairs on the busiest rank over the mean.
  double busiest_before = 1, busiest_after = 1;
  /// Experts held by copies: each costs the memory of an expert on its rank, and its gradient a sum
  /// over its copies.
  int64_t copies = 0;
};

/// One copy after another, as long as the busiest rank's pairs fall by at least `least_gain` of the
/// mean: of the busiest rank's experts the one with most pairs a copy goes to the rank with fewest
/// pairs that has room and does not hold it. `slots`: copies that a rank takes beside its own
/// experts.
Replication replicate(const Traffic& traffic, const Placement& placement, int64_t ranks,
                      int64_t slots, double least_gain = 0.01);

}  // namespace moe::cluster
