// E experts, W ranks.
#include <algorithm>

#include <moe/cluster/replication.h>

namespace moe::cluster {

namespace {

class Copies {
 public:
  Copies(const Traffic& traffic, const Placement& placement, int64_t ranks, int64_t slots)
      : load_E_(traffic.load_E()),
        load_W_(static_cast<size_t>(ranks), 0),
        free_W_(static_cast<size_t>(ranks), slots) {
    for (size_t e = 0; e < placement.size(); ++e) {
      ranks_E_.push_back({placement[e]});
      load_W_[placement[e]] += static_cast<double>(load_E_[e]);
    }
  }

  double busiest() const { return *std::ranges::max_element(load_W_); }

  /// Makes the best copy, if one lowers the busiest rank's pairs by `gain`.
  bool add(double gain) {
    const double before = busiest();
    const auto rank = static_cast<int32_t>(std::ranges::max_element(load_W_) - load_W_.begin());
    std::vector<size_t> here;
    for (size_t e = 0; e < ranks_E_.size(); ++e)
      if (std::ranges::find(ranks_E_[e], rank) != ranks_E_[e].end()) here.push_back(e);
    std::ranges::stable_sort(here, [&](size_t a, size_t b) { return share(a) > share(b); });
    for (const size_t e : here) {
      const auto to = room_for(e);
      if (to < 0) continue;
      const auto old = load_W_;
      const double part = share(e);
      ranks_E_[e].push_back(to);
      for (const int32_t r : ranks_E_[e]) load_W_[r] += share(e) - (r == to ? 0 : part);
      if (busiest() <= before - gain) {
        --free_W_[to];
        return true;
      }
      ranks_E_[e].pop_back();
      load_W_ = old;
    }
    return false;
  }

  const std::vector<std::vector<int32_t>>& ranks() const { return ranks_E_; }

 private:
  double share(size_t e) const {
    return static_cast<double>(load_E_[e]) / static_cast<double>(ranks_E_[e].size());
  }
  int32_t room_for(size_t e) const {
    int32_t out = -1;
    for (int32_t r = 0; r < static_cast<int32_t>(load_W_.size()); ++r)
      if (free_W_[r] > 0 && std::ranges::find(ranks_E_[e], r) == ranks_E_[e].end() &&
          (out < 0 || load_W_[r] < load_W_[out]))
        out = r;
    return out;
  }

  std::vector<int64_t> load_E_;
  std::vector<double> load_W_;
  std::vector<int64_t> free_W_;
  std::vector<std::vector<int32_t>> ranks_E_;
};

}  // namespace

Replication replicate(const Traffic& traffic, const Placement& placement, int64_t ranks,
                      int64_t slots, double least_gain) {
  check(static_cast<int64_t>(placement.size()) == traffic.experts, "cluster/replication",
        "expected a rank for each of ", traffic.experts, " experts, got ", placement.size(),
        ". Correct the placement.");
  const double mean = static_cast<double>(traffic.pairs()) / static_cast<double>(ranks);
  Replication out;
  if (mean == 0) return out;
  Copies copies(traffic, placement, ranks, slots);
  out.busiest_before = copies.busiest() / mean;
  while (copies.add(std::max(least_gain, 1e-9) * mean)) ++out.copies;
  out.busiest_after = copies.busiest() / mean;
  const auto load_E = traffic.load_E();
  for (size_t e = 0; e < copies.ranks().size(); ++e)
    if (copies.ranks()[e].size() > 1)
      out.replicas.push_back({.expert = static_cast<int64_t>(e),
                              .load = static_cast<double>(load_E[e]) / mean,
                              .ranks = copies.ranks()[e]});
  return out;
}

}  // namespace moe::cluster
