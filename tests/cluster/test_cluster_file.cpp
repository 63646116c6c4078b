// Descriptions of clusters: what is read, and what is refused.
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include <moe/cluster/cluster.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using cluster::Cluster;
using cluster::parse_cluster;

constexpr const char* kWholeCluster = R"(
name = "two"
nodes = 2
ranks_per_node = 4
[rank]
float32 = 1e12
memory = 8e9
memory_bandwidth = 1e10
[inside]
latency = 1e-6
bandwidth = 1e10
[between]
latency = 1e-5
bandwidth = 1e9
)";

/// The cluster above with `from` replaced.
std::string changed_cluster(const std::string& from, const std::string& to) {
  std::string text = kWholeCluster;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ClusterFile, ReadsWhatItWrites) {
  const Cluster read = parse_cluster(kWholeCluster, "two.toml");
  EXPECT_EQ(read.ranks(), 8);
  EXPECT_EQ(read.between.bandwidth, 1e9);
  const std::string text = cluster::write_cluster(read, "a comment\nof two lines");
  EXPECT_EQ(text.rfind("# a comment\n# of two lines\n\n", 0), 0u) << text;
  const Cluster again = parse_cluster(text, "again");
  EXPECT_EQ(cluster::write_cluster(again), cluster::write_cluster(read));
}

TEST(ClusterFile, EveryOneOfConfigsIsOne) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(MOE_SOURCE_DIR) / "configs/clusters")) {
    EXPECT_NO_THROW(cluster::read_cluster(entry.path())) << entry.path();
    std::ifstream file(entry.path());
    EXPECT_EQ(file.get(), '#') << entry.path() << " says nothing about where its numbers come from";
    ++found;
  }
  EXPECT_GE(found, 3);
}

TEST(ClusterFile, RatesFollowTheTypeAndTheEfficiency) {
  cluster::Processor rank{.float32 = 100, .efficiency = 0.5};
  EXPECT_EQ(rank.rate("float32"), 50);
  EXPECT_EQ(rank.rate("bfloat16"), 50);
  EXPECT_EQ(rank.rate("float64"), 25);
  rank.bfloat16 = 400, rank.float64 = 10;
  EXPECT_EQ(rank.rate("bfloat16"), 200);
  EXPECT_EQ(rank.rate("float64"), 5);
}

TEST(ClusterFile, RefusesWhatCannotBe) {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& part) {
    EXPECT_ERROR(parse_cluster(changed_cluster(from, to), "bad.toml"), part);
  };
  EXPECT_ERROR(parse_cluster("", "empty.toml"), "got an empty file");
  EXPECT_ERROR(parse_cluster("nodes = [", "bad.toml"), "bad.toml");
  refused("[inside]", "[insid]", "Did you mean 'inside'?");
  refused("latency = 1e-6", "lag = 1e-6", "lag");
  refused("nodes = 2", "nodes = 0", "expected 'nodes' in [1, 1048576], got 0");
  refused("nodes = 2", "nodes = -1", "got -1");
  refused("nodes = 2", "nodes = \"two\"", "nodes");
  refused("nodes = 2", "nodes = 2.5", "nodes");
  refused("nodes = 2", "nodes = 9223372036854775807", "expected 'nodes'");
  refused("nodes = 2", "nodes = 1048576", "expected at most 1048576 ranks in all");
  refused("bandwidth = 1e9", "bandwidth = 0.0", "expected 'between.bandwidth' above 0");
  refused("latency = 1e-6\nbandwidth = 1e10", "bandwidth = 0.0",
          "expected 'inside.bandwidth' above 0");
  refused("bandwidth = 1e9", "bandwidth = -1.0", "expected 'between.bandwidth' in [0, 1e30)");
  refused("bandwidth = 1e9", "bandwidth = inf", "expected 'between.bandwidth' in [0, 1e30)");
  refused("latency = 1e-5", "latency = nan", "expected 'between.latency' in [0, 1e30)");
  refused("float32 = 1e12", "float32 = 0.0", "expected 'rank.float32' above 0");
  refused("memory = 8e9", "memory = 0.0", "expected 'rank.memory' above 0");
  refused("float32 = 1e12", "float32 = 1e12\nefficiency = 1.5",
          "expected 'rank.efficiency' in (0, 1]");
  refused("nodes = 2", "nodes = 2\nbisection = -1.0", "expected 'bisection' in [0, 1e30)");
}

TEST(ClusterFile, NeedsNoLinkThatNobodyUses) {
  EXPECT_EQ(
      parse_cluster("[rank]\nfloat32 = 1e9\nmemory = 1e9\nmemory_bandwidth = 1e9", "one").ranks(),
      1);
  EXPECT_ERROR(parse_cluster(
                   "nodes = 2\n[rank]\nfloat32 = 1e9\nmemory = 1e9\nmemory_bandwidth = 1e9", "two"),
               "expected 'between.bandwidth' above 0 where there are several nodes");
  EXPECT_ERROR(parse_cluster("ranks_per_node = 2", "two"), "expected 'rank.float32' above 0");
}

TEST(ClusterFile, UsesFewerRanks) {
  const Cluster all = parse_cluster(kWholeCluster, "two.toml");
  EXPECT_EQ(all.with_ranks(8).nodes, 2);
  EXPECT_EQ(all.with_ranks(4).nodes, 1);
  EXPECT_EQ(all.with_ranks(3).ranks_per_node, 3);
  EXPECT_ERROR(all.with_ranks(6), "expected whole nodes of 4 ranks, got 6");
  EXPECT_ERROR(all.with_ranks(9), "expected ranks in [1, 8]");
  EXPECT_ERROR(all.with_ranks(0), "got 0");
}

}  // namespace
}  // namespace moe::test
