// E experts, W ranks.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe/cluster/placed_rows.h>

namespace moe::cluster {

namespace {

class BranchAndBound {
 public:
  BranchAndBound(const Traffic& traffic, const Cluster& cluster, const PlacementOptions& options,
                 FoundPlacement& best, int64_t most_nodes)
      : rows_(traffic, cluster, options),
        ranks_per_node_(static_cast<int32_t>(cluster.ranks_per_node)),
        best_(best),
        most_nodes_(most_nodes),
        order_(static_cast<size_t>(traffic.experts)) {
    std::iota(order_.begin(), order_.end(), int64_t{0});
    const auto load_E = traffic.load_E();
    std::ranges::stable_sort(order_, [&](int64_t a, int64_t b) { return load_E[a] > load_E[b]; });
  }

  void run() {
    best_.proven = true;
    below(0);
    best_.work = nodes_;
  }

 private:
  void below(size_t depth) {
    if (depth == order_.size()) {
      const auto cost = rows_.cost();
      if (cost.seconds < best_.cost.seconds) best_.cost = cost, best_.rank_E = rows_.placement();
      return;
    }
    bool tried_empty_node = false;
    for (int32_t node = 0; node < rows_.ranks() / ranks_per_node_; ++node) {
      const int32_t first = node * ranks_per_node_;
      bool empty_node = true;
      for (int32_t r = first; r < first + ranks_per_node_; ++r)
        empty_node &= rows_.experts_on(r) == 0;
      // Nodes are alike, and so are the ranks of one: of empty ones only the first is tried.
      if (empty_node && tried_empty_node) continue;
      tried_empty_node |= empty_node;
      bool tried_empty_rank = false;
      for (int32_t r = first; r < first + ranks_per_node_; ++r) {
        const bool empty_rank = rows_.experts_on(r) == 0;
        if (rows_.experts_on(r) == rows_.capacity() || (empty_rank && tried_empty_rank)) continue;
        tried_empty_rank |= empty_rank;
        if (nodes_ >= most_nodes_) {
          best_.proven = false;
          return;
        }
        ++nodes_;
        rows_.move(order_[depth], r);
        if (rows_.seconds() < best_.cost.seconds) below(depth + 1);
        rows_.move(order_[depth], -1);
      }
    }
  }

  PlacedRows rows_;
  int32_t ranks_per_node_;
  FoundPlacement& best_;
  int64_t most_nodes_, nodes_ = 0;
  std::vector<int64_t> order_;
};

}  // namespace

FoundPlacement search_exact(const Traffic& traffic, const Placement& start, const Cluster& cluster,
                            const PlacementOptions& options, int64_t most_nodes) {
  FoundPlacement out{.rank_E = start, .cost = cost_of(traffic, start, cluster, options)};
  BranchAndBound(traffic, cluster, options, out, most_nodes).run();
  return out;
}

}  // namespace moe::cluster
