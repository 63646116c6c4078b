// E experts, W ranks, R ranks a node, N sets of experts.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe/cluster/placed_rows.h>

namespace moe::cluster {

namespace {

/// The largest and the mean of `values`, weighted; of `count` values, those that are not there 0.
double weighted(const std::vector<double>& values, double busiest) {
  const double most = *std::ranges::max_element(values),
               sum = std::accumulate(values.begin(), values.end(), 0.0);
  return busiest * most + (1 - busiest) * sum / static_cast<double>(values.size());
}

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

int64_t capacity_of(const PlacementOptions& options, int64_t experts, int64_t ranks) {
  return options.capacity > 0 ? options.capacity : (experts + ranks - 1) / ranks;
}

PlacedRows::PlacedRows(const Traffic& traffic, const Cluster& cluster,
                       const PlacementOptions& options)
    : traffic_(traffic),
      cluster_(cluster),
      options_(options),
      capacity_(capacity_of(options, traffic.experts, cluster.ranks())),
      ranks_per_node_(cluster.ranks_per_node),
      rank_E_(static_cast<size_t>(traffic.experts), -1),
      load_E_(traffic.load_E()),
      held_W_(static_cast<size_t>(cluster.ranks()), 0),
      load_W_(static_cast<size_t>(cluster.ranks()), 0),
      tokens_W_(static_cast<size_t>(cluster.ranks()), 0),
      tokens_nodes_(static_cast<size_t>(cluster.nodes), 0),
      begin_E_(static_cast<size_t>(traffic.experts) + 1, 0) {
  options.validate(traffic.experts, cluster.ranks());
  pairs_ = static_cast<double>(traffic.pairs());
  for (const int32_t e : traffic.expert) ++begin_E_[static_cast<size_t>(e) + 1];
  std::partial_sum(begin_E_.begin(), begin_E_.end(), begin_E_.begin());
  set_.resize(traffic.expert.size());
  auto next = begin_E_;
  for (int64_t n = 0; n < traffic.sets(); ++n)
    for (int64_t i = traffic.offset_N[n]; i < traffic.offset_N[n + 1]; ++i)
      set_[static_cast<size_t>(next[static_cast<size_t>(traffic.expert[i])]++)] = n;
}

void PlacedRows::move(int64_t expert, int32_t rank) {
  const auto e = static_cast<size_t>(expert);
  const int32_t from = rank_E_[e];
  if (from == rank) return;
  const auto node = [&](int32_t r) { return r < 0 ? -1 : r / ranks_per_node_; };
  const int64_t from_node = node(from), to_node = node(rank);
  rank_E_[e] = -1;
  for (int64_t s = begin_E_[e]; s < begin_E_[e + 1]; ++s) {
    const int64_t n = set_[static_cast<size_t>(s)];
    bool on_from = false, on_to = false, on_from_node = false, on_to_node = false;
    for (int64_t i = traffic_.offset_N[n]; i < traffic_.offset_N[n + 1]; ++i) {
      const int32_t r = rank_E_[static_cast<size_t>(traffic_.expert[i])];
      if (r < 0) continue;
      const int64_t at = r / ranks_per_node_;
      on_from |= r == from, on_to |= r == rank;
      on_from_node |= at == from_node, on_to_node |= at == to_node;
    }
    const auto tokens = static_cast<double>(traffic_.tokens_N[n]);
    if (from >= 0 && !on_from) tokens_W_[from] -= tokens;
    if (rank >= 0 && !on_to) tokens_W_[rank] += tokens;
    if (from >= 0 && !on_from_node) tokens_nodes_[from_node] -= tokens;
    if (rank >= 0 && !on_to_node) tokens_nodes_[to_node] += tokens;
  }
  work_ += begin_E_[e + 1] - begin_E_[e] + 1;
  const auto load = static_cast<double>(load_E_[e]);
  if (from >= 0) load_W_[from] -= load, --held_W_[from];
  if (rank >= 0) load_W_[rank] += load, ++held_W_[rank];
  rank_E_[e] = rank;
}

void PlacedRows::place(const Placement& placement) {
  for (size_t e = 0; e < placement.size(); ++e) move(static_cast<int64_t>(e), placement[e]);
}

PlacementCost PlacedRows::cost() const {
  const auto W = static_cast<double>(held_W_.size()), R = static_cast<double>(ranks_per_node_);
  const bool by_node = options_.rows == Rows::kNode;
  const auto& arriving_W = options_.rows == Rows::kPair ? load_W_ : tokens_W_;
  std::vector<double> to_nodes(tokens_nodes_.size());
  for (size_t r = 0; r < held_W_.size(); ++r)
    to_nodes[r / static_cast<size_t>(ranks_per_node_)] += arriving_W[r];
  if (by_node) to_nodes = tokens_nodes_;
  const double from_others = 1 - R / W, from_own = by_node ? (R - 1) / R : (R - 1) / W;

  PlacementCost out;
  out.between_bytes = from_others * sum_of(to_nodes) * options_.row_bytes;
  out.inside_bytes = from_own * sum_of(arriving_W) * options_.row_bytes;
  const double mean = pairs_ / W, most = *std::ranges::max_element(load_W_);
  out.busiest_load = mean > 0 ? most / mean : 1;
  if (cluster_.nodes > 1)
    out.seconds += 2 * from_others * options_.row_bytes / cluster_.between.bandwidth *
                   weighted(to_nodes, options_.busiest);
  if (ranks_per_node_ > 1)
    out.seconds += 2 * from_own * options_.row_bytes / cluster_.inside.bandwidth *
                   weighted(arriving_W, options_.busiest);
  out.seconds += static_cast<double>(traffic_.flops_per_pair) / cluster_.rank.rate(options_.dtype) *
                 (options_.busiest * std::max(most, mean) + (1 - options_.busiest) * mean);
  return out;
}

}  // namespace moe::cluster
