// Placements: their cost against a count of every token and home, exact search against all
// placements, local search against exact. E experts, W ranks, R ranks a node.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/cluster/placed_rows.h>
#include <moe/cluster/replication.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using cluster::Cluster;
using cluster::Placement;
using cluster::PlacementOptions;
using cluster::Rows;
using cluster::Traffic;

const std::vector<Rows> kRows = {Rows::kPair, Rows::kRank, Rows::kNode};

Cluster small_cluster(int64_t nodes, int64_t ranks_per_node) {
  return {.nodes = nodes,
          .ranks_per_node = ranks_per_node,
          .rank = {.float32 = 1e11, .memory = 1e9, .memory_bandwidth = 1e10},
          .inside = {.latency = 1e-6, .bandwidth = 1e10},
          .between = {.latency = 1e-5, .bandwidth = 1e9}};
}

PlacementOptions sending(Rows rows) {
  PlacementOptions out;
  out.rows = rows;
  out.row_bytes = 256;
  return out;
}

/// Tokens that choose K of E experts at random, some experts more often than others.
Traffic random_traffic(int64_t E, int64_t K, int64_t tokens, uint64_t seed) {
  const RandomStream stream(seed, "test/placement");
  cluster::TrafficBuilder builder(0, E);
  uint64_t next = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    std::set<int32_t> chosen;
    while (static_cast<int64_t>(chosen.size()) < K) {
      const double u = stream.uniform53(next++);
      chosen.insert(static_cast<int32_t>(u * u * static_cast<double>(E)));
    }
    builder.add({chosen.begin(), chosen.end()});
  }
  auto out = std::move(builder).finish();
  out.width = 64, out.flops_per_pair = 4000;
  return out;
}

/// Rows that come to each node and rank, token by token and home by home.
struct Arrived {
  std::vector<double> nodes, ranks, load;
};

Arrived count_arrivals(const Traffic& traffic, const Placement& placement, const Cluster& c,
                       Rows rows) {
  const int64_t W = c.ranks(), R = c.ranks_per_node;
  Arrived out{std::vector<double>(c.nodes), std::vector<double>(W), std::vector<double>(W)};
  for (int64_t n = 0; n < traffic.sets(); ++n)
    for (int64_t home = 0; home < W; ++home) {
      const double tokens = static_cast<double>(traffic.tokens_N[n]) / static_cast<double>(W);
      std::vector<int64_t> to;
      for (int64_t i = traffic.offset_N[n]; i < traffic.offset_N[n + 1]; ++i) {
        to.push_back(placement[traffic.expert[i]]);
        out.load[to.back()] += tokens;
      }
      if (rows != Rows::kPair) {
        std::ranges::sort(to);
        to.erase(std::unique(to.begin(), to.end()), to.end());
      }
      std::set<int64_t> entered;
      for (const int64_t r : to) {
        const int64_t node = r / R;
        if (rows == Rows::kNode) {
          if (node != home / R && entered.insert(node).second) out.nodes[node] += tokens;
          if (r != node * R + home % R) out.ranks[r] += tokens;
        } else if (node != home / R) {
          out.nodes[node] += tokens;
        } else if (r != home) {
          out.ranks[r] += tokens;
        }
      }
    }
  return out;
}

double weighted_mean(const std::vector<double>& values, double busiest) {
  return busiest * *std::ranges::max_element(values) +
         (1 - busiest) * std::accumulate(values.begin(), values.end(), 0.0) /
             static_cast<double>(values.size());
}

double counted_seconds(const Traffic& traffic, const Placement& placement, const Cluster& c,
                       const PlacementOptions& o) {
  const auto arrived = count_arrivals(traffic, placement, c, o.rows);
  return 2 * o.row_bytes / c.between.bandwidth * weighted_mean(arrived.nodes, o.busiest) +
         2 * o.row_bytes / c.inside.bandwidth * weighted_mean(arrived.ranks, o.busiest) +
         static_cast<double>(traffic.flops_per_pair) / c.rank.float32 *
             weighted_mean(arrived.load, o.busiest);
}

/// The least cost over all placements.
double least_of_all(const Traffic& traffic, const Cluster& c, const PlacementOptions& o) {
  const int64_t capacity = cluster::capacity_of(o, traffic.experts, c.ranks());
  double least = INFINITY;
  Placement placement(static_cast<size_t>(traffic.experts), 0);
  std::vector<int64_t> held(static_cast<size_t>(c.ranks()), 0);
  const auto place = [&](auto&& self, size_t e) -> void {
    if (e == placement.size()) {
      least = std::min(least, counted_seconds(traffic, placement, c, o));
      return;
    }
    for (int32_t r = 0; r < c.ranks(); ++r) {
      if (held[r] == capacity) continue;
      placement[e] = r;
      ++held[r];
      self(self, e + 1);
      --held[r];
    }
  };
  place(place, 0);
  return least;
}

TEST(Placement, CostIsThatOfEveryTokenAndHome) {
  for (const auto& c : {small_cluster(1, 1), small_cluster(1, 4), small_cluster(2, 2),
                        small_cluster(3, 2), small_cluster(4, 1)})
    for (const auto rows : kRows)
      for (const uint64_t seed : {1, 2, 3}) {
        const auto traffic = random_traffic(12, 3, 50, seed);
        auto options = sending(rows);
        options.capacity = 12;
        const RandomStream stream(seed, "test/ranks");
        Placement placement;
        for (uint64_t e = 0; e < 12; ++e)
          placement.push_back(static_cast<int32_t>(stream.below(e, c.ranks())));
        const auto found = cluster::cost_of(traffic, placement, c, options);
        EXPECT_NEAR(found.seconds / counted_seconds(traffic, placement, c, options), 1, 1e-12);
        const auto arrived = count_arrivals(traffic, placement, c, rows);
        EXPECT_NEAR(found.between_bytes,
                    256 * std::accumulate(arrived.nodes.begin(), arrived.nodes.end(), 0.0), 1e-6);
        EXPECT_NEAR(found.inside_bytes,
                    256 * std::accumulate(arrived.ranks.begin(), arrived.ranks.end(), 0.0), 1e-6);
      }
}

TEST(Placement, MovesLeaveWhatPlacingAnewGives) {
  const auto c = small_cluster(2, 2);
  const auto traffic = random_traffic(10, 3, 200, 7);
  auto options = sending(Rows::kNode);
  options.capacity = 10;
  cluster::PlacedRows rows(traffic, c, options);
  rows.place(cluster::in_order(10, 4));
  const RandomStream stream(5, "test/moves");
  for (uint64_t i = 0; i < 300; ++i)
    rows.move(static_cast<int64_t>(stream.below(2 * i, 10)),
              static_cast<int32_t>(stream.below(2 * i + 1, 4)));
  EXPECT_EQ(rows.seconds(), cluster::cost_of(traffic, rows.placement(), c, options).seconds);
}

TEST(Placement, InOrderSharesOutEvenly) {
  EXPECT_EQ(cluster::in_order(8, 4), (Placement{0, 0, 1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(cluster::in_order(7, 3), (Placement{0, 0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(cluster::in_order(2, 4), (Placement{0, 1}));
}

TEST(Placement, ExactIsTheLeastOfAll) {
  struct Case {
    int64_t E, K, nodes, ranks_per_node, capacity;
  };
  for (const auto& s : {Case{6, 2, 2, 1, 0}, Case{6, 3, 1, 3, 0}, Case{8, 2, 2, 2, 0},
                        Case{7, 2, 2, 2, 0}, Case{5, 2, 1, 3, 3}, Case{3, 2, 2, 2, 0}})
    for (const auto rows : kRows)
      for (const uint64_t seed : {1, 2, 3}) {
        SCOPED_TRACE(
            concat(s.E, " experts on ", s.nodes, " x ", s.ranks_per_node, ", seed ", seed));
        const auto c = small_cluster(s.nodes, s.ranks_per_node);
        const auto traffic = random_traffic(s.E, s.K, 30, seed);
        auto options = sending(rows);
        options.capacity = s.capacity;
        const auto start = cluster::in_order(s.E, c.ranks());
        const auto exact = cluster::search_exact(traffic, start, c, options);
        EXPECT_TRUE(exact.proven);
        EXPECT_NEAR(exact.cost.seconds / least_of_all(traffic, c, options), 1, 1e-12);
        EXPECT_NEAR(cluster::cost_of(traffic, exact.rank_E, c, options).seconds, exact.cost.seconds,
                    1e-18);
        const auto local = cluster::improve(traffic, start, c, options);
        EXPECT_LE(local.cost.seconds, cluster::cost_of(traffic, start, c, options).seconds);
        EXPECT_LE(local.cost.seconds, 1.02 * exact.cost.seconds);
      }
}

TEST(Placement, LocalSearchIsWithinItsGapOfExactOnTwelveExperts) {
  double most = 0;
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const auto c = small_cluster(2, 2);
    const auto traffic = random_traffic(12, 3, 200, seed);
    const auto start = cluster::in_order(12, 4);
    const auto options = sending(Rows::kNode);
    const auto local = cluster::improve(traffic, start, c, options);
    const auto exact = cluster::search_exact(traffic, local.rank_E, c, options);
    EXPECT_TRUE(exact.proven);
    most = std::max(most, local.cost.seconds / exact.cost.seconds);
  }
  EXPECT_LE(most, 1.02);
}

TEST(Placement, GivesUpTheProofAndKeepsTheStart) {
  const auto c = small_cluster(2, 2);
  const auto traffic = random_traffic(12, 3, 200, 1);
  const auto start = cluster::in_order(12, 4);
  const auto options = sending(Rows::kNode);
  const auto found = cluster::search_exact(traffic, start, c, options, 5);
  EXPECT_FALSE(found.proven);
  EXPECT_LE(found.work, 5);
  EXPECT_LE(found.cost.seconds, cluster::cost_of(traffic, start, c, options).seconds);
}

/// `groups` groups of experts, shuffled; a token's K experts are of one of them.
Traffic planted(int64_t groups, int64_t size, int64_t K, std::vector<int32_t>& group_E) {
  const RandomStream stream(3, "test/planted");
  std::vector<int32_t> experts(static_cast<size_t>(groups * size));
  std::iota(experts.begin(), experts.end(), 0);
  for (size_t i = experts.size() - 1; i > 0; --i)
    std::swap(experts[i], experts[stream.below(i, i + 1)]);
  group_E.assign(experts.size(), 0);
  cluster::TrafficBuilder builder(4, groups * size);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < size; ++i) {
      group_E[static_cast<size_t>(experts[static_cast<size_t>(g * size + i)])] =
          static_cast<int32_t>(g);
      std::vector<int32_t> chosen;
      for (int64_t k = 0; k < K; ++k)
        chosen.push_back(experts[static_cast<size_t>(g * size + (i + k) % size)]);
      builder.add(chosen, 100);
    }
  }
  auto out = std::move(builder).finish();
  out.flops_per_pair = 4000;
  return out;
}

TEST(Placement, FindsPlantedGroups) {
  for (const auto& c : {small_cluster(1, 8), small_cluster(8, 1), small_cluster(4, 2)}) {
    std::vector<int32_t> group_E;
    const auto traffic = planted(8, 8, 3, group_E);
    const auto options = sending(Rows::kRank);
    const auto found = cluster::improve(traffic, cluster::in_order(64, 8), c, options);
    // Each group is on one rank, so that a token's experts are.
    for (size_t e = 0; e < group_E.size(); ++e)
      for (size_t f = 0; f < group_E.size(); ++f)
        EXPECT_EQ(found.rank_E[e] == found.rank_E[f], group_E[e] == group_E[f]);
    EXPECT_NEAR(found.cost.busiest_load, 1, 1e-12);
    const double tokens = static_cast<double>(traffic.tokens());
    EXPECT_NEAR(found.cost.inside_bytes + found.cost.between_bytes, tokens * 256 * 7 / 8, 1e-6);
  }
}

TEST(Placement, LikeRanksAndNodesCostTheSame) {
  const auto c = small_cluster(3, 2);
  const auto traffic = random_traffic(12, 3, 100, 9);
  const auto placement = cluster::in_order(12, 6);
  // Nodes in another order, ranks of a node too.
  const std::vector<int32_t> renamed = {4, 5, 1, 0, 3, 2};
  Placement mirror;
  for (const int32_t rank : placement) mirror.push_back(renamed[static_cast<size_t>(rank)]);
  for (const auto rows : kRows)
    EXPECT_DOUBLE_EQ(cluster::cost_of(traffic, placement, c, sending(rows)).seconds,
                     cluster::cost_of(traffic, mirror, c, sending(rows)).seconds);
}

TEST(Placement, TheSameSeedGivesTheSame) {
  const auto c = small_cluster(4, 4);
  const auto traffic = random_traffic(64, 4, 2000, 2);
  const auto start = cluster::in_order(64, 16);
  cluster::SearchOptions search{.seed = 8, .most_work = int64_t{1} << 22};
  const auto a = cluster::improve(traffic, start, c, sending(Rows::kNode), search),
             b = cluster::improve(traffic, start, c, sending(Rows::kNode), search);
  EXPECT_EQ(a.rank_E, b.rank_E);
  EXPECT_EQ(a.work, b.work);
  EXPECT_LT(a.cost.seconds, cluster::cost_of(traffic, start, c, sending(Rows::kNode)).seconds);
  for (int32_t r = 0; r < 16; ++r) EXPECT_EQ(std::ranges::count(a.rank_E, r), 4);
}

TEST(Placement, TokensWithoutExpertsAndEmptyTrafficCostNothing) {
  const auto c = small_cluster(2, 2);
  cluster::TrafficBuilder builder(0, 4);
  builder.add({});
  const auto traffic = std::move(builder).finish();
  EXPECT_EQ(traffic.sets(), 0);
  const auto start = cluster::in_order(4, 4);
  const auto found = cluster::improve(traffic, start, c, sending(Rows::kNode));
  EXPECT_EQ(found.rank_E, start);
  EXPECT_EQ(found.cost.seconds, 0);
  EXPECT_TRUE(cluster::search_exact(traffic, start, c, sending(Rows::kNode)).proven);
  EXPECT_TRUE(cluster::replicate(traffic, start, 4, 1).replicas.empty());
}

TEST(Placement, RefusesWhatDoesNotFit) {
  const auto c = small_cluster(2, 2);
  const auto traffic = random_traffic(8, 2, 10, 1);
  auto options = sending(Rows::kPair);
  EXPECT_ERROR(cluster::cost_of(traffic, {0, 1}, c, options),
               "a rank for each of 8 experts, got 2");
  EXPECT_ERROR(cluster::cost_of(traffic, {0, 0, 1, 1, 2, 2, 3, 4}, c, options),
               "ranks in [0, 4), got 4");
  EXPECT_ERROR(cluster::cost_of(traffic, {0, 0, 0, 1, 2, 2, 3, 3}, c, options),
               "at most 2 experts on a rank, got 3 on rank 0");
  options.capacity = 1;
  EXPECT_ERROR(cluster::cost_of(traffic, cluster::in_order(8, 4), c, options),
               "a capacity that holds 8 experts on 4 ranks, got 1. Name at least 2");
  options = sending(Rows::kPair);
  options.busiest = 2;
  EXPECT_ERROR(cluster::cost_of(traffic, cluster::in_order(8, 4), c, options), "in [0, 1], got 2");
  cluster::TrafficBuilder builder(0, 4);
  EXPECT_ERROR(builder.add({4}), "experts in [0, 4), got 4");
  EXPECT_ERROR(builder.add({-1}), "got -1");
  EXPECT_ERROR(builder.add({1, 1}), "got one twice");
  EXPECT_ERROR(cluster::TrafficBuilder(0, 0), "expected experts in [1, ");
}

TEST(Replication, SpreadsTheHotExpert) {
  // Expert 0 has 70 of 100 pairs: no placement on 4 ranks comes below 2.8 times the mean.
  cluster::TrafficBuilder builder(0, 4);
  builder.add({0}, 70);
  for (const int32_t e : {1, 2, 3}) builder.add({e}, 10);
  const auto traffic = std::move(builder).finish();
  const auto found = cluster::replicate(traffic, cluster::in_order(4, 4), 4, 1);
  EXPECT_DOUBLE_EQ(found.busiest_before, 2.8);
  EXPECT_EQ(found.copies, 3);
  ASSERT_EQ(found.replicas.size(), 1u);
  EXPECT_EQ(found.replicas[0].expert, 0);
  EXPECT_DOUBLE_EQ(found.replicas[0].load, 2.8);
  EXPECT_EQ(found.replicas[0].ranks, (std::vector<int32_t>{0, 1, 2, 3}));
  // 17.5 of the hot one and 10 of its own: 27.5 over a mean of 25.
  EXPECT_DOUBLE_EQ(found.busiest_after, 1.1);
}

TEST(Replication, NeverLosesAndStopsWhereNothingIsWon) {
  for (const uint64_t seed : {1, 2, 3, 4}) {
    const auto traffic = random_traffic(16, 2, 500, seed);
    double before = INFINITY;
    for (const int64_t slots : {0, 1, 2, 4}) {
      const auto found = cluster::replicate(traffic, cluster::in_order(16, 4), 4, slots);
      EXPECT_LE(found.busiest_after, found.busiest_before);
      EXPECT_LE(found.copies, 4 * slots);
      EXPECT_LE(found.busiest_after, before);
      before = found.busiest_after;
      if (slots == 0) {
        EXPECT_TRUE(found.replicas.empty());
      }
    }
  }
  // All alike: no copy.
  cluster::TrafficBuilder builder(0, 4);
  for (const int32_t e : {0, 1, 2, 3}) builder.add({e}, 10);
  EXPECT_EQ(cluster::replicate(std::move(builder).finish(), cluster::in_order(4, 4), 4, 2).copies,
            0);
}

}  // namespace
}  // namespace moe::test
