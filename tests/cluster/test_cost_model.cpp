// What collectives cost: by hand, and against sums over every pair of ranks. W ranks, P of a group.
#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include <moe/cluster/cost_model.h>
#include <moe/cluster/link_fit.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using cluster::Cluster;
using cluster::Cost;
using cluster::Group;

Cluster machines(int64_t nodes, int64_t ranks_per_node) {
  return {.nodes = nodes,
          .ranks_per_node = ranks_per_node,
          .rank = {.float32 = 1e12, .memory = 1e9, .memory_bandwidth = 1e10},
          .inside = {.latency = 1e-6, .bandwidth = 1e10},
          .between = {.latency = 1e-5, .bandwidth = 1e9}};
}

const std::vector<Cluster> kMachines = {machines(1, 1), machines(1, 8),  machines(2, 4),
                                        machines(4, 4), machines(16, 1), machines(8, 2)};

std::vector<int64_t> divisors(int64_t number) {
  std::vector<int64_t> out;
  for (int64_t d = 1; d <= number; ++d)
    if (number % d == 0) out.push_back(d);
  return out;
}

/// The groups of a kind, member by member.
std::vector<std::vector<int64_t>> groups_of(const Cluster& c, int64_t P, bool strided) {
  const int64_t W = c.ranks(), groups = W / P;
  std::vector<std::vector<int64_t>> out(static_cast<size_t>(groups));
  for (int64_t r = 0; r < W; ++r)
    out[static_cast<size_t>(strided ? r % groups : r / P)].push_back(r);
  return out;
}

/// Bytes that the rank that sends most sends inside its node, and the node that sends most to
/// others, where rank a of a group sends sent(a, b) to rank b of it.
template <class Sent>
Cost counted(const Cluster& c, const std::vector<std::vector<int64_t>>& groups, const Sent& sent) {
  std::vector<double> inside(static_cast<size_t>(c.ranks())), between(static_cast<size_t>(c.nodes));
  for (const auto& group : groups)
    for (size_t a = 0; a < group.size(); ++a)
      for (size_t b = 0; b < group.size(); ++b) {
        if (a == b) continue;
        const auto from = group[a] / c.ranks_per_node, to = group[b] / c.ranks_per_node;
        (from == to ? inside[group[a]] : between[from]) += sent(a, b);
      }
  return {0, *std::ranges::max_element(inside), *std::ranges::max_element(between)};
}

TEST(CostModel, CountsTheBytesOfEveryPairOfRanks) {
  constexpr double kBytes = 1 << 20;
  for (const auto& c : kMachines)
    for (const int64_t P : divisors(c.ranks())) {
      SCOPED_TRACE(concat(c.nodes, " x ", c.ranks_per_node, ", ", P));
      const auto exchange = cluster::all_to_all(c, Group::consecutive(c, P), kBytes);
      const auto pairs = counted(c, groups_of(c, P, false),
                                 [&](size_t, size_t) { return kBytes / static_cast<double>(P); });
      EXPECT_DOUBLE_EQ(exchange.inside_bytes, pairs.inside_bytes);
      EXPECT_DOUBLE_EQ(exchange.between_bytes, pairs.between_bytes);
      for (const bool strided : {false, true}) {
        const auto group = strided ? Group::strided(c, P) : Group::consecutive(c, P);
        const auto scatter = cluster::reduce_scatter(c, group, kBytes);
        const auto hops = counted(c, groups_of(c, P, strided), [&](size_t a, size_t b) {
          return b == (a + 1) % static_cast<size_t>(P)
                     ? kBytes * static_cast<double>(P - 1) / static_cast<double>(P)
                     : 0;
        });
        // Partners at distance 1 get half, those at 2 a quarter, …
        const auto halved = counted(c, groups_of(c, P, strided), [&](size_t a, size_t b) {
          const size_t distance = a ^ b;
          return std::has_single_bit(distance) ? kBytes / 2 / static_cast<double>(distance) : 0;
        });
        const auto same = [&](const Cost& other) {
          return std::abs(scatter.between_bytes - other.between_bytes) < 1e-6 &&
                 std::abs(scatter.inside_bytes - other.inside_bytes) < 1e-6;
        };
        EXPECT_TRUE(same(hops) || same(halved))
            << scatter.inside_bytes << ", " << scatter.between_bytes << (strided ? " strided" : "");
      }
    }
}

TEST(CostModel, ExchangeByHand) {
  // One node: 7 messages of 1 MiB / 8.
  const auto one = machines(1, 8);
  EXPECT_NEAR(cluster::all_to_all(one, Group::consecutive(one, 8), 1 << 20).seconds,
              7e-6 + 7.0 / 8 * (1 << 20) / 1e10, 1e-15);
  // Two nodes of 4: 3 messages near, 4 far; 4 ranks send half of their bytes over one link.
  const auto two = machines(2, 4);
  const auto far = cluster::all_to_all(two, Group::consecutive(two, 8), 1 << 20);
  EXPECT_NEAR(far.seconds, 3e-6 + 4e-5 + 4 * 0.5 * (1 << 20) / 1e9, 1e-12);
  EXPECT_DOUBLE_EQ(far.between_bytes, 2 << 20);
  EXPECT_DOUBLE_EQ(far.inside_bytes, 3.0 / 8 * (1 << 20));
  // 8 bytes go in log2 8 = 3 rounds instead.
  EXPECT_NEAR(cluster::all_to_all(one, Group::consecutive(one, 8), 8).seconds, 3 * (1e-6 + 4e-10),
              1e-15);
  // A cut that passes 1 MB/s in all halves nothing but this: 8 ranks send 4 MiB across it.
  auto cut = two;
  cut.bisection = 1e6;
  EXPECT_NEAR(cluster::all_to_all(cut, Group::consecutive(cut, 8), 1 << 20).seconds,
              8.0 * (1 << 20) / 2 / 1e6, 1e-3);
}

TEST(CostModel, SumsByHand) {
  const auto one = machines(1, 4);
  // In halves: 2 rounds there, 2 back.
  EXPECT_NEAR(cluster::all_reduce(one, Group::consecutive(one, 4), 4e6).seconds,
              4e-6 + 2 * 0.75 * 4e6 / 1e10, 1e-12);
  // 8 bytes double in 2 rounds.
  EXPECT_NEAR(cluster::all_reduce(one, Group::consecutive(one, 4), 8).seconds,
              2 * (1e-6 + 8 / 1e10), 1e-15);
  // Three ranks have no halves to speak of: 2 rounds of near ones, as many as a ring has messages.
  const auto three = machines(1, 3);
  EXPECT_NEAR(cluster::all_reduce(three, Group::consecutive(three, 3), 3e6).seconds,
              4e-6 + 2 * 2.0 / 3 * 3e6 / 1e10, 1e-12);
  // Two nodes of four: 3/4 of the bytes inside, then a quarter of them from each rank to the other
  // node, half of all over its link.
  const auto two = machines(2, 4);
  EXPECT_NEAR(cluster::all_reduce(two, Group::consecutive(two, 8), 8e6).seconds,
              2 * (2e-6 + 1e-5) + 2 * 0.75 * 8e6 / 1e10 + 2 * 0.5 * 8e6 / 1e9, 1e-9);
  // Links between nodes that are as fast as those inside, and no latency: a ring uses both at once.
  auto even = two;
  even.between.bandwidth = even.inside.bandwidth, even.between.latency = even.inside.latency = 0;
  EXPECT_NEAR(cluster::all_reduce(even, Group::consecutive(even, 8), 8e6).seconds,
              2 * 7.0 / 8 * 8e6 / 1e10, 1e-9);
  // Four pairs of ranks, each in both nodes: all send over the node's link at once, in one round.
  EXPECT_NEAR(cluster::all_reduce(two, Group::strided(two, 2), 8e6).seconds, 1e-5 + 4 * 8e6 / 1e9,
              1e-9);
  // Sums may have links of their own.
  auto slow = one;
  slow.inside.reduce_bandwidth = 1e9, slow.inside.reduce_latency = 1e-5;
  EXPECT_NEAR(cluster::all_reduce(slow, Group::consecutive(slow, 4), 4e6).seconds,
              4e-5 + 2 * 0.75 * 4e6 / 1e9, 1e-12);
}

TEST(CostModel, ScatterAndGatherAreTheHalvesOfASum) {
  for (const auto& c : kMachines)
    for (const int64_t P : divisors(c.ranks())) {
      if (P == 2) continue;  // two ranks exchange what they have in one round
      const auto group = Group::consecutive(c, P);
      const auto sum = cluster::all_reduce(c, group, 1 << 28);
      auto halves = cluster::reduce_scatter(c, group, 1 << 28);
      halves += cluster::all_gather(c, group, 1 << 28);
      EXPECT_DOUBLE_EQ(sum.seconds, halves.seconds);
      EXPECT_DOUBLE_EQ(sum.between_bytes, halves.between_bytes);
    }
}

TEST(CostModel, OneRankSendsNothing) {
  for (const auto& c : kMachines)
    for (const auto& cost : {cluster::all_to_all(c, Group::consecutive(c, 1), 1e9),
                             cluster::all_reduce(c, Group::strided(c, 1), 1e9),
                             cluster::all_gather(c, Group::strided(c, 1), 1e9)}) {
      EXPECT_EQ(cost.seconds, 0);
      EXPECT_EQ(cost.inside_bytes + cost.between_bytes, 0);
    }
}

TEST(CostModel, RisesWithBytesAndFallsWithBandwidth) {
  for (const auto& c : kMachines)
    for (const int64_t P : divisors(c.ranks())) {
      if (P == 1) continue;
      auto faster = c;
      faster.inside.bandwidth *= 2, faster.between.bandwidth *= 2;
      for (const bool strided : {false, true}) {
        const auto group = strided ? Group::strided(c, P) : Group::consecutive(c, P);
        double exchange = 0, sum = 0;
        for (double bytes = 8; bytes < 1e10; bytes *= 4) {
          const double e = cluster::all_to_all(c, group, bytes).seconds,
                       s = cluster::all_reduce(c, group, bytes).seconds;
          EXPECT_GT(e, exchange);
          EXPECT_GT(s, sum);
          EXPECT_LT(cluster::all_to_all(faster, group, bytes).seconds, e);
          EXPECT_LT(cluster::all_reduce(faster, group, bytes).seconds, s);
          exchange = e, sum = s;
        }
      }
    }
}

TEST(CostModel, GroupsAreThoseOfTheirMembers) {
  for (const auto& c : {machines(2, 4), machines(4, 3), machines(3, 6), machines(1, 12)})
    for (const int64_t P : divisors(c.ranks()))
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(concat(c.nodes, " x ", c.ranks_per_node, ", ", P, strided ? " strided" : ""));
        const auto found = strided ? Group::strided(c, P) : Group::consecutive(c, P);
        int64_t nodes = 0, mates = P;
        for (const auto& group : groups_of(c, P, strided)) {
          std::set<int64_t> on;
          for (const int64_t r : group) on.insert(r / c.ranks_per_node);
          nodes = std::max(nodes, static_cast<int64_t>(on.size()));
          for (const int64_t node : on)
            mates = std::min(mates, std::ranges::count_if(group, [&](int64_t r) {
                               return r / c.ranks_per_node == node;
                             }));
        }
        EXPECT_EQ(found.mates, mates);
        EXPECT_GE(found.nodes, nodes);
        if (!strided || c.ranks() / P <= c.ranks_per_node ||
            c.ranks() / P % c.ranks_per_node == 0) {
          EXPECT_EQ(found.nodes, nodes);
        }
      }
}

TEST(CostModel, ChunksHideTheShorterOfTheTwo) {
  EXPECT_DOUBLE_EQ(cluster::overlapped(2, 10, 3, 1), 15);
  EXPECT_DOUBLE_EQ(cluster::overlapped(2, 10, 3, 5), 15.0 / 5 + 4.0 / 5 * 10);
  EXPECT_DOUBLE_EQ(cluster::overlapped(20, 10, 30, 5), 60.0 / 5 + 4.0 / 5 * 50);
  EXPECT_ERROR(cluster::overlapped(1, 1, 1, 0), "expected at least 1 chunk");
  for (int64_t chunks = 1; chunks < 64; ++chunks)
    EXPECT_LE(cluster::overlapped(2, 10, 3, chunks + 1), cluster::overlapped(2, 10, 3, chunks));
}

TEST(CostModel, RefusesGroupsThatDoNotComeOutEven) {
  const auto c = machines(2, 4);
  EXPECT_ERROR(Group::consecutive(c, 3), "expected a number of ranks that divides 8, got 3");
  EXPECT_ERROR(Group::strided(c, 0), "got 0");
}

TEST(LinkFit, FindsTheLinkThatTimesWereMadeOf) {
  std::vector<cluster::Timed> timed;
  for (double bytes = 1e3; bytes < 1e8; bytes *= 7)
    timed.push_back({.latencies = 3, .bytes = bytes, .seconds = 3 * 2e-6 + bytes / 5e9});
  const auto found = cluster::fit_link(timed);
  EXPECT_NEAR(found.latency / 2e-6, 1, 1e-9);
  EXPECT_NEAR(found.bandwidth / 5e9, 1, 1e-9);
  EXPECT_LT(found.worst, 1e-9);
}

TEST(LinkFit, HasNoLatencyBelowNothing) {
  const auto found = cluster::fit_link({{1, 1e3, 1e-9}, {1, 1e6, 1e-3}});
  EXPECT_EQ(found.latency, 0);
  EXPECT_GT(found.bandwidth, 0);
  const auto falling = cluster::fit_link({{1, 1e3, 1}, {1, 1e9, 1e-3}});
  EXPECT_EQ(falling.latency, 0);
  EXPECT_GT(falling.bandwidth, 0);
  EXPECT_GT(falling.worst, 0.9);
}

TEST(LinkFit, RefusesWhatHasNoLine) {
  EXPECT_ERROR(cluster::fit_link({}), "at least two sizes, got 0");
  EXPECT_ERROR(cluster::fit_link({{1, 8, 1e-6}, {1, 8, 2e-6}}), "at least two sizes");
  EXPECT_ERROR(cluster::fit_link({{1, 8, 0}, {1, 16, 1}}), "expected times above 0");
  EXPECT_ERROR(cluster::fit_link({{1, 8, NAN}, {1, 16, 1}}), "expected times above 0");
}

}  // namespace
}  // namespace moe::test
