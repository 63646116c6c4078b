#pragma once
// How fast the ranks of a group exchange, add and compute, measured among them. W ranks, R ranks a
// node.

#include <memory>
#include <vector>

#include <moe/cluster/cluster.h>
#include <moe/cluster/link_fit.h>
#include <moe/parallel/communicator.h>

#include "tools/moe/common.h"

namespace moe::tools {

struct ExchangeBench {
  /// Bytes of each rank, for all others together (all-to-all) or to be added (all-reduce).
  std::vector<int64_t> bytes = {1 << 12, 1 << 15, 1 << 18, 1 << 21};
  int64_t repeat = 10, warmup = 2;
  /// Machines that the ranks lie on, node by node.
  int64_t nodes = 1;

  /// Throws ConfigError for numbers out of range and nodes that do not divide `ranks`.
  void validate(int64_t ranks) const;
};

/// Median seconds of the slowest rank at each size; what was sent in it, and the fit.
struct MeasuredCollective {
  std::vector<cluster::Timed> timed;
  cluster::FittedLink fit;
};

struct MeasuredLink {
  MeasuredCollective all_to_all, all_reduce;
};

struct MeasuredExchange {
  /// What was measured, as the planner reads it.
  cluster::Cluster cluster;
  /// Of no use where a node has one rank, or there is one node.
  MeasuredLink inside, between;
};

/// Called by every rank of `group`, whatever its backend; all return the same. Ranks of a node
/// measure `inside` all at once, ranks of equal place in their nodes `between`. FLOP/s and memory
/// bandwidth are what each of the ranks gets while all compute: products of 512 x 512 matrices in
/// float32, bfloat16 and float64, and sums over 64 MiB. Memory is what the machine has free, shared
/// among the ranks of a node.
MeasuredExchange measure_exchange(const std::shared_ptr<parallel::Communicator>& group,
                                  const ExchangeBench& options);

Json exchange_json(const MeasuredExchange& measured);
void print_exchange(const MeasuredExchange& measured);

/// Adds `exchange` to the group `bench`.
void add_bench_exchange(CLI::App& group, Session& session);

}  // namespace moe::tools
