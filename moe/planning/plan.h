#pragma once
// Every layout of a run's ranks on a cluster: what it needs of memory, links and time. W ranks, P
// of them share the experts of a layer, W / P hold the same ones.

#include <optional>
#include <string>
#include <vector>

#include <moe/cluster/cost_model.h>
#include <moe/planning/workload.h>

namespace moe::planning {

/// How the ranks of a cluster work together.
struct Layout {
  /// Ranks that share the experts of a layer: neighbours. Each of them holds ceil(E / P) at most.
  int64_t experts = 1;
  /// Ranks that hold the same experts: W / P.
  int64_t data = 1;
  /// Each of the ranks that hold the same parameters keeps a part of their optimizer state (ZeRO
  /// stage 1, Rajbhandari et al. 2020).
  bool zero1 = false;
  /// Parts in which exchange and experts overlap.
  int64_t chunks = 1;
  /// Bytes of a number on its way to an expert and back: of products, or 2.
  double exchange_bytes = 4;
};

/// Bytes of the rank that needs most.
struct LayoutMemory {
  StateBytes state = {};
  double activations = 0;
  /// Rows of one MoE layer on their way, and the bucket that gradients are added in.
  double exchange = 0;

  double total() const {
    return state.weights + state.gradients + state.moments + activations + exchange;
  }
};

/// Seconds of one step.
struct LayoutTime {
  /// Products and memory of everything but experts, of experts, and of the optimizer.
  double dense = 0, experts = 0, optimizer = 0;
  /// What exchanges add behind their overlap; sums of gradients; short sums of losses and counts.
  double exchange = 0, gradients = 0, sums = 0;

  double total() const { return dense + experts + optimizer + exchange + gradients + sums; }
};

struct LayoutPlan {
  Layout layout;
  LayoutMemory memory;
  LayoutTime time;
  /// Sent in a step: by a rank inside its node, by a node to others.
  double inside_bytes = 0, between_bytes = 0;
  /// Rows of a micro-batch on the rank that has most.
  int64_t rows = 0;
};

struct PlanOptions {
  /// Pairs on the busiest rank over the mean: how uneven routing is.
  double imbalance = 1;
  std::vector<int64_t> chunks = {1, 2, 4, 8};

  /// Throws ConfigError for numbers out of range.
  void validate() const;
};

struct Plan {
  /// Layouts that fit, best first: by time, then by memory, then the simpler.
  std::vector<LayoutPlan> fits;
  /// Those that do not, the nearest to fitting first.
  std::vector<LayoutPlan> too_large;

  size_t evaluated() const { return fits.size() + too_large.size(); }
};

/// Why a layout does not fit in `memory` bytes: what of it alone is too much, or the largest parts.
std::string why_too_large(const LayoutPlan& plan, double memory);

/// Memory, bytes and time of one layout:
///
///   rows        r = ceil(batch / W), t = r sequence tokens a micro-batch, imbalance t K pairs a
///   layer state       replicated + ceil(E / P) experts a layer; with zero1 moments of the
///   replicated
///               divided by W, of experts by W / P
///   activations t (what blocks keep) + pairs (what experts keep) + the loss; with recompute what
///   is
///               left, and one block or MoE layer in full
///   products    3 forward (one more of what is recomputed) FLOPs / rate, or the bytes of weights
///   read
///               and gradients written / memory bandwidth, whichever takes longer
///   exchange    a layer, forward: counts (8 E bytes) and token numbers (8 a pair), then rows there
///               and rows back; backward rows there and back; forward once more where it is
///               recomputed; all_to_all among P neighbours, overlapped() in chunks
///   gradients   all_reduce of the replicated over W, of experts over W / P ranks W / P apart, in
///               buckets of 16 MiB, once a step; with zero1 reduce_scatter, and all_gather of
///               weights
///   sums        one of counts a layer and micro-batch, five of single numbers a step
///   optimizer   (2 weights + gradients + 2 moments) bytes / memory bandwidth
LayoutPlan evaluate(const Workload& workload, const cluster::Cluster& cluster, const Layout& layout,
                    const PlanOptions& options = {});

/// Every layout: P over the divisors of W that are at most E; zero1 where several ranks hold the
/// same; chunks, and 16-bit exchange where products have more bits, where P > 1.
std::vector<Layout> layouts_of(const Workload& workload, const cluster::Cluster& cluster,
                               const PlanOptions& options = {});

Plan make_plan(const Workload& workload, const cluster::Cluster& cluster,
               const PlanOptions& options = {});

}  // namespace moe::planning
