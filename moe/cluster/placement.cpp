// E experts, W ranks.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <tuple>

#include <moe/base/random.h>
#include <moe/cluster/placed_rows.h>

namespace moe::cluster {

namespace {

constexpr const char* kPlaceOfPlacement = "cluster/placement";
/// What a change must win, as a share of the cost, so that rounding decides nothing.
constexpr double kLeastGain = 1e-9;

bool is_less(double a, double b) {
  return a < b - kLeastGain * std::abs(b);
}

/// Numbers 0 .. count in an order that follows from the key alone.
std::vector<int64_t> shuffled(int64_t count, uint64_t seed, uint64_t number) {
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), int64_t{0});
  const RandomStream stream(seed, concat("cluster/placement ", number));
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(out[static_cast<size_t>(i)],
              out[stream.below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
  return out;
}

/// Experts change places.
class LocalSearch {
 public:
  LocalSearch(const Traffic& traffic, const Cluster& cluster, const PlacementOptions& options,
              const SearchOptions& search)
      : rows_(traffic, cluster, options), search_(search), experts_(traffic.experts) {}

  double from(const Placement& start, uint64_t number) {
    rows_.place(start);
    double best = descend(number);
    while (!spent()) {
      const double next = chain(best);
      if (!is_less(next, best)) break;
      best = descend(number);
    }
    return rows_.seconds();
  }
  const PlacedRows& rows() const { return rows_; }
  bool spent() const { return rows_.work() >= search_.most_work; }

 private:
  void swap(int64_t e, int64_t f) {
    const int32_t of_e = rows_.rank_of(e), of_f = rows_.rank_of(f);
    rows_.move(e, of_f);
    rows_.move(f, of_e);
  }

  /// The first swap or move that wins is made, until none does.
  double descend(uint64_t number) {
    double best = rows_.seconds();
    const auto order = shuffled(experts_, search_.seed, number);
    for (bool changed = true; changed && !spent();) {
      changed = false;
      for (size_t i = 0; i < order.size() && !spent(); ++i) {
        const int64_t e = order[i];
        for (size_t j = i + 1; j < order.size(); ++j)
          changed |= keep_if_better(best, [&] { return try_swap(e, order[j]); });
        for (int32_t r = 0; r < rows_.ranks(); ++r)
          if (rows_.experts_on(r) < rows_.capacity())
            changed |= keep_if_better(best, [&] { return try_move(e, r); });
      }
    }
    return best;
  }

  using Undo = std::function<void()>;
  Undo try_swap(int64_t e, int64_t f) {
    if (rows_.rank_of(e) == rows_.rank_of(f)) return {};
    swap(e, f);
    return [this, e, f] { swap(e, f); };
  }
  Undo try_move(int64_t e, int32_t rank) {
    const int32_t before = rows_.rank_of(e);
    if (before == rank) return {};
    rows_.move(e, rank);
    return [this, e, before] { rows_.move(e, before); };
  }
  template <class Change>
  bool keep_if_better(double& best, const Change& change) {
    const Undo undo = change();
    if (!undo) return false;
    if (const double now = rows_.seconds(); is_less(now, best)) {
      best = now;
      return true;
    }
    undo();
    return false;
  }

  /// A chain of best swaps of experts that did not move yet; leaves its best beginning.
  double chain(double start) {
    std::vector<bool> moved(static_cast<size_t>(experts_), false);
    std::vector<std::pair<int64_t, int64_t>> made;
    double best = start;
    size_t kept = 0;
    for (int64_t step = 0; step < experts_ / 2 && !spent(); ++step) {
      std::pair<int64_t, int64_t> chosen = {-1, -1};
      double least = INFINITY;
      for (int64_t e = 0; e < experts_ && !spent(); ++e)
        for (int64_t f = e + 1; f < experts_; ++f) {
          if (moved[e] || moved[f] || rows_.rank_of(e) == rows_.rank_of(f)) continue;
          swap(e, f);
          if (const double now = rows_.seconds(); now < least) least = now, chosen = {e, f};
          swap(e, f);
        }
      if (chosen.first < 0) break;
      swap(chosen.first, chosen.second);
      moved[chosen.first] = moved[chosen.second] = true;
      made.push_back(chosen);
      if (is_less(least, best)) best = least, kept = made.size();
      // Experts on ranks with room stay: descend moves them.
    }
    while (made.size() > kept) {
      swap(made.back().first, made.back().second);
      made.pop_back();
    }
    return best;
  }

  PlacedRows rows_;
  SearchOptions search_;
  int64_t experts_;
};

/// Ranks grow one after another: the expert most often chosen with those of the rank (and, to begin
/// it, of its node) comes next; of equal ones the busiest.
Placement grown(const Traffic& traffic, const Cluster& cluster, const PlacementOptions& options) {
  const int64_t E = traffic.experts, R = cluster.ranks_per_node;
  const int64_t capacity = capacity_of(options, E, cluster.ranks());
  const auto load_E = traffic.load_E();
  std::vector<std::map<int32_t, int64_t>> together(static_cast<size_t>(E));
  for (int64_t n = 0; n < traffic.sets(); ++n)
    for (int64_t i = traffic.offset_N[n]; i < traffic.offset_N[n + 1]; ++i)
      for (int64_t j = traffic.offset_N[n]; j < traffic.offset_N[n + 1]; ++j)
        if (i != j)
          together[static_cast<size_t>(traffic.expert[i])][traffic.expert[j]] +=
              traffic.tokens_N[n];

  Placement out(static_cast<size_t>(E), -1);
  std::vector<int64_t> near_node(static_cast<size_t>(E)), near_rank(static_cast<size_t>(E));
  int64_t left = E;
  for (int32_t r = 0; left > 0; ++r) {
    if (r % R == 0) std::ranges::fill(near_node, 0);
    std::ranges::fill(near_rank, 0);
    // As in_order shares them out, unless a larger capacity leaves ranks over.
    const int64_t ranks_left = cluster.ranks() - r;
    const int64_t here = std::min(capacity, (left + ranks_left - 1) / ranks_left);
    for (int64_t k = 0; k < here; ++k) {
      int64_t chosen = -1;
      const auto key = [&](int64_t e) { return std::tuple(near_rank[e], near_node[e], load_E[e]); };
      for (int64_t e = 0; e < E; ++e)
        if (out[e] < 0 && (chosen < 0 || key(e) > key(chosen))) chosen = e;
      out[chosen] = r;
      --left;
      for (const auto& [other, tokens] : together[chosen])
        near_rank[other] += tokens, near_node[other] += tokens;
    }
  }
  return out;
}

}  // namespace

void PlacementOptions::validate(int64_t experts, int64_t ranks) const {
  check<ConfigError>(capacity >= 0 && (capacity == 0 || capacity * ranks >= experts),
                     kPlaceOfPlacement, "expected a capacity that holds ", experts, " experts on ",
                     ranks, " ranks, got ", capacity, ". Name at least ",
                     (experts + ranks - 1) / ranks, ", or 0.");
  check<ConfigError>(std::isfinite(row_bytes) && row_bytes >= 0, kPlaceOfPlacement,
                     "expected bytes of a row of at least 0, got ", row_bytes, ". Correct it.");
  check<ConfigError>(busiest >= 0 && busiest <= 1, kPlaceOfPlacement,
                     "expected the weight of the busiest in [0, 1], got ", busiest,
                     ". Correct it.");
}

Placement in_order(int64_t experts, int64_t ranks) {
  Placement out;
  for (int64_t r = 0; r < ranks; ++r)
    for (int64_t k = 0; k < experts / ranks + (r < experts % ranks ? 1 : 0); ++k)
      out.push_back(static_cast<int32_t>(r));
  return out;
}

PlacementCost cost_of(const Traffic& traffic, const Placement& placement, const Cluster& cluster,
                      const PlacementOptions& options) {
  PlacedRows rows(traffic, cluster, options);
  check(static_cast<int64_t>(placement.size()) == traffic.experts, kPlaceOfPlacement,
        "expected a rank for each of ", traffic.experts, " experts, got ", placement.size(),
        ". Correct the placement.");
  for (const int32_t rank : placement)
    check(rank >= 0 && rank < rows.ranks(), kPlaceOfPlacement, "expected ranks in [0, ",
          rows.ranks(), "), got ", rank, ". Correct the placement.");
  rows.place(placement);
  for (int64_t r = 0; r < rows.ranks(); ++r)
    check(rows.experts_on(r) <= rows.capacity(), kPlaceOfPlacement, "expected at most ",
          rows.capacity(), " experts on a rank, got ", rows.experts_on(r), " on rank ", r,
          ". Raise the capacity.");
  return rows.cost();
}

FoundPlacement improve(const Traffic& traffic, const Placement& start, const Cluster& cluster,
                       const PlacementOptions& options, const SearchOptions& search) {
  FoundPlacement out{.rank_E = start, .cost = cost_of(traffic, start, cluster, options)};
  LocalSearch local(traffic, cluster, options, search);
  std::vector<Placement> starts = {start, grown(traffic, cluster, options)};
  for (int64_t i = 0; i < search.random_starts; ++i) {
    const auto order = shuffled(traffic.experts, search.seed, static_cast<uint64_t>(i) + 1000);
    Placement mixed(start.size());
    for (size_t e = 0; e < start.size(); ++e) mixed[e] = start[static_cast<size_t>(order[e])];
    starts.push_back(std::move(mixed));
  }
  for (size_t i = 0; i < starts.size() && !local.spent(); ++i)
    if (is_less(local.from(starts[i], i), out.cost.seconds)) {
      out.rank_E = local.rows().placement();
      out.cost = local.rows().cost();
    }
  out.work = local.rows().work();
  return out;
}

}  // namespace moe::cluster
