#pragma once
// Which rank holds which expert of a layer, and what that costs. E experts, W ranks, R ranks a
// node.

#include <string>
#include <vector>

#include <moe/cluster/cluster.h>
#include <moe/cluster/traffic.h>

namespace moe::cluster {

/// (E,) the rank of each expert.
using Placement = std::vector<int32_t>;

/// What travels of a token that chose several experts.
enum class Rows {
  kPair,  // a row for each of its experts, as the exchange sends them
  kRank,  // one for each rank that has some of them
  kNode,  // one for each node that has some, which hands it on to the ranks inside
};

struct PlacementOptions {
  /// Experts a rank holds at most; 0: as few as hold all, ceil(E / W).
  int64_t capacity = 0;
  Rows rows = Rows::kNode;
  /// Bytes of a row, and the type that experts compute in.
  double row_bytes = 0;
  std::string dtype = "float32";
  /// Weight of the busiest rank, node and link beside the mean: a step waits for the busiest, but
  /// which one that is changes from step to step.
  double busiest = 0.5;

  /// Throws ConfigError for numbers out of range, and a capacity that cannot hold `experts`.
  void validate(int64_t experts, int64_t ranks) const;
};

/// What a placement costs over the tokens of a Traffic, whose home is each rank for 1 / W of them.
struct PlacementCost {
  /// Seconds of one forward pass: rows to experts and back, and the experts' products. Of each of
  /// its three parts busiest * (largest) + (1 - busiest) * (mean):
  ///
  ///   between nodes   2 rows that come to node n from others * row_bytes / bandwidth
  ///   inside a node   2 rows that come to rank r from its node * row_bytes / bandwidth
  ///   products        pairs on rank r * flops_per_pair / rate
  ///
  /// With T_r (T_n) tokens that have an expert on rank r (node n) and L_r pairs on rank r, to node
  /// n come (1 - R / W) times the sum of L_r (pair) or T_r (rank) of its ranks, or T_n (node); to
  /// rank r (R - 1) / W times L_r (pair) or T_r (rank), or (R - 1) / R T_r (node).
  double seconds = 0;
  /// Bytes to experts of all tokens, one way: between nodes, and between ranks of a node.
  double between_bytes = 0, inside_bytes = 0;
  /// Pairs on the busiest rank over the mean.
  double busiest_load = 1;
};

/// Throws moe::Error for a placement that is not one of the traffic's experts, or that puts more
/// experts on a rank than fit.
PlacementCost cost_of(const Traffic& traffic, const Placement& placement, const Cluster& cluster,
                      const PlacementOptions& options);

/// Experts in their order on the ranks in theirs, as many on each; where E is no multiple of W the
/// first ranks have one more.
Placement in_order(int64_t experts, int64_t ranks);

struct SearchOptions {
  /// Of the orders in which swaps are tried, and of the starts beside the given one.
  uint64_t seed = 1;
  int64_t random_starts = 2;
  /// Sets of experts looked at, at most: what a search may cost, the same on every machine.
  int64_t most_work = int64_t{1} << 27;
};

struct FoundPlacement {
  Placement rank_E;
  PlacementCost cost;
  /// No placement costs less.
  bool proven = false;
  /// Sets looked at by local search, partial placements by branch and bound.
  int64_t work = 0;
};

/// Local search: from `start`, from a placement that grows ranks around experts that go together,
/// and from random ones, experts change places, one pair or one expert at a time, while the cost
/// falls; then chains of changes of which each is the best at its time, worse ones too, and of
/// which the best beginning is kept (Kernighan and Lin 1970). Never worse than `start`; the same
/// seed gives the same placement.
FoundPlacement improve(const Traffic& traffic, const Placement& start, const Cluster& cluster,
                       const PlacementOptions& options, const SearchOptions& search = {});

/// Branch and bound from `start`, which it must not be worse than: experts by falling load, each on
/// every rank that has room and is not the mirror of one tried already. What has been placed so far
/// bounds the cost from below, since rows and the largest load only grow. Not proven when
/// `most_nodes` partial placements did not suffice.
FoundPlacement search_exact(const Traffic& traffic, const Placement& start, const Cluster& cluster,
                            const PlacementOptions& options, int64_t most_nodes = int64_t{4} << 20);

}  // namespace moe::cluster
