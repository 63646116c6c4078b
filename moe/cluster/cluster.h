#pragma once
// Machines and the links between them, as a TOML file describes them. W ranks, R ranks a node.

#include <cstdint>
#include <filesystem>
#include <string>

#include <moe/base/fields.h>

namespace moe::cluster {

/// A link by its two numbers: a message of n bytes takes latency + n / bandwidth seconds.
struct Link {
  double latency = 0;
  double bandwidth = 0;
  double reduce_latency = 0;
  double reduce_bandwidth = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("latency", latency, "seconds until the first byte of a message arrives");
    v("bandwidth", bandwidth,
      "bytes a second in one direction: of a rank inside a node, of a whole node between nodes");
    v("reduce_latency", reduce_latency,
      "the same for sums over ranks, where they were measured apart; 0: latency");
    v("reduce_bandwidth", reduce_bandwidth,
      "the same for sums over ranks, where they were measured apart; 0: bandwidth");
  }
  void validate(const std::string& place) const;

  /// The link as sums over ranks see it.
  Link of_sums() const;
};

/// What a rank computes with.
struct Processor {
  double float32 = 0;
  double bfloat16 = 0;
  double float64 = 0;
  double efficiency = 1;
  double memory = 0;
  double memory_bandwidth = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("float32", float32, "FLOP/s of products in float32");
    v("bfloat16", bfloat16, "FLOP/s of products in bfloat16; 0: as float32");
    v("float64", float64, "FLOP/s of products in float64; 0: half of float32");
    v("efficiency", efficiency, "share of these that products of a training step reach, in (0, 1]");
    v("memory", memory, "bytes that a rank may use");
    v("memory_bandwidth", memory_bandwidth, "bytes a second read from memory");
  }
  void validate(const std::string& place) const;

  /// FLOP/s that products of `dtype` ("float32", "bfloat16", "float64") reach in a step.
  double rate(const std::string& dtype) const;
};

/// A cluster of nodes that are alike. Rank r stands in node r / ranks_per_node.
struct Cluster {
  std::string name = {};
  int64_t nodes = 1;
  int64_t ranks_per_node = 1;
  double bisection = 0;
  Processor rank = {};
  Link inside = {};
  Link between = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("name", name, "what people call it");
    v("nodes", nodes, "machines");
    v("ranks_per_node", ranks_per_node, "ranks of each: its GPUs, or groups of cores");
    v("bisection", bisection,
      "bytes a second, both directions together, between two halves of all nodes; 0: as much as "
      "the links of the nodes");
    v("rank", rank, "what one rank computes with");
    v("inside", inside, "between ranks of a node; needed from two ranks a node on");
    v("between", between, "between nodes; needed from two nodes on");
  }
  void validate(const std::string& place) const;

  int64_t ranks() const { return nodes * ranks_per_node; }
  /// The same machines with fewer ranks: whole nodes where they come out even, else the first ones
  /// of one node. Throws ConfigError for a number that is neither, or larger than ranks().
  Cluster with_ranks(int64_t ranks) const;
};

/// Most ranks that a cluster may have.
inline constexpr int64_t kMostRanks = int64_t{1} << 20;

/// Throws ConfigError for text that is not TOML, unknown keys, wrong types and values out of range.
Cluster read_cluster(const std::filesystem::path& path);
Cluster parse_cluster(std::string_view text, const std::string& source_name);

/// As a TOML file that reads back the same; `comment` goes on top of it, a line each behind "# ".
std::string write_cluster(const Cluster& cluster, const std::string& comment = "");

}  // namespace moe::cluster
