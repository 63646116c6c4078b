// P ranks of a group, W ranks in all, R ranks a node, m of a group in a node.
#include <algorithm>
#include <bit>
#include <cmath>

#include <moe/cluster/cost_model.h>

namespace moe::cluster {

namespace {

double of(int64_t number) {
  return static_cast<double>(number);
}

/// ceil(log2 P)
double rounds(int64_t ranks) {
  return of(std::bit_width(static_cast<uint64_t>(ranks - 1)));
}

double over(double bytes, double bandwidth) {
  return bytes > 0 ? bytes / bandwidth : 0;
}

void check_group(const Cluster& cluster, int64_t ranks) {
  check(ranks >= 1 && cluster.ranks() % ranks == 0, "cluster/cost_model",
        "expected a number of ranks that divides ", cluster.ranks(), ", got ", ranks,
        ". Name a divisor.");
}

/// A ring: what each of P ranks sends in all to its next, `share` of bytes.
Cost ring(const Cluster& cluster, const Group& group, double bytes, double passes) {
  const double P = of(group.ranks);
  if (group.ranks == 1) return {};
  const double sent = passes * bytes * (P - 1) / P;
  const Link in = cluster.inside.of_sums(), out = cluster.between.of_sums();
  if (group.nodes == 1) return {passes * (P - 1) * in.latency + over(sent, in.bandwidth), sent, 0};
  Cost cost;
  cost.between_bytes = of(group.crossing) * sent;
  cost.inside_bytes = group.mates > 1 ? sent : 0;
  const double slowest =
      std::max(over(cost.between_bytes, out.bandwidth), over(cost.inside_bytes, in.bandwidth));
  cost.seconds = passes * (P - 1) * out.latency + slowest;
  return cost;
}

/// The same in halves, near ranks first.
Cost halves(const Cluster& cluster, const Group& group, double bytes, double passes) {
  if (group.ranks == 1) return {};
  const double P = of(group.ranks), m = group.nodes == 1 ? P : of(group.mates);
  const Link in = cluster.inside.of_sums(), out = cluster.between.of_sums();
  const double near = std::ceil(std::log2(m)), far = std::ceil(std::log2(P / m));
  Cost cost;
  cost.inside_bytes = passes * bytes * (m - 1) / m;
  cost.between_bytes = passes * of(group.crossing) * bytes * (P - m) / P;
  cost.seconds = passes * (near * in.latency + far * out.latency) +
                 over(cost.inside_bytes, in.bandwidth) + over(cost.between_bytes, out.bandwidth);
  return cost;
}

Cost lesser(const Cost& a, const Cost& b) {
  return b.seconds < a.seconds ? b : a;
}

}  // namespace

Group Group::consecutive(const Cluster& cluster, int64_t ranks) {
  check_group(cluster, ranks);
  const int64_t W = cluster.ranks(), R = cluster.ranks_per_node;
  Group out{.ranks = ranks, .mates = ranks, .at_once = ranks == 1 ? 1 : R};
  int64_t node = -1, crossing = 0;  // groups on several nodes that the node has ranks of
  for (int64_t first = 0; first < W; first += ranks) {
    const int64_t last = first + ranks - 1, nodes = last / R - first / R + 1;
    out.nodes = std::max(out.nodes, nodes);
    if (nodes == 1) continue;
    // Of the nodes in between a group has all ranks; at its ends it may have fewer.
    out.mates = std::min({out.mates, R - first % R, last % R + 1});
    crossing = first / R == node ? crossing + 1 : 1;
    out.crossing = std::max(out.crossing, crossing);
    if (last / R != first / R) node = last / R, crossing = 1;
  }
  return out;
}

Group Group::strided(const Cluster& cluster, int64_t ranks) {
  check_group(cluster, ranks);
  const int64_t R = cluster.ranks_per_node, stride = cluster.ranks() / ranks;
  Group out{.ranks = ranks, .mates = ranks, .at_once = ranks == 1 ? 1 : R};
  if (ranks == 1 || cluster.nodes == 1) return out;
  out.mates = std::max<int64_t>(1, R / stride);
  out.nodes = std::min(cluster.nodes, ranks);
  out.crossing = std::min(R, stride);
  return out;
}

Cost all_to_all(const Cluster& cluster, const Group& group, double bytes) {
  if (group.ranks == 1) return {};
  const double P = of(group.ranks), m = of(group.mates);
  Cost cost;
  cost.inside_bytes = bytes * (m - 1) / P;
  cost.between_bytes = group.nodes == 1 ? 0 : of(group.at_once) * bytes * (P - m) / P;
  double across = 0;
  if (cluster.bisection > 0 && group.nodes > 1) {
    const double share = std::min(1.0, of(group.nodes) / of(cluster.nodes));
    across = P * bytes / 2 / (share * cluster.bisection);
  }
  const Link &in = cluster.inside, &out = cluster.between;
  const double pairwise = (m - 1) * in.latency + (P - m) * out.latency +
                          std::max({over(cost.inside_bytes, in.bandwidth),
                                    over(cost.between_bytes, out.bandwidth), across});
  const bool apart = group.nodes > 1;
  const double latency = apart ? out.latency : in.latency,
               bandwidth = apart ? out.bandwidth / of(group.at_once) : in.bandwidth;
  const double bruck = rounds(group.ranks) * (latency + bytes / 2 / bandwidth);
  cost.seconds = std::min(pairwise, std::max(bruck, across));
  return cost;
}

Cost all_reduce(const Cluster& cluster, const Group& group, double bytes) {
  const Cost cost = lesser(ring(cluster, group, bytes, 2), halves(cluster, group, bytes, 2));
  if (group.ranks == 1) return cost;
  const bool apart = group.nodes > 1;
  const Link link = (apart ? cluster.between : cluster.inside).of_sums();
  const double bandwidth = apart ? link.bandwidth / of(group.at_once) : link.bandwidth;
  const double doubling = rounds(group.ranks) * (link.latency + over(bytes, bandwidth));
  if (doubling >= cost.seconds) return cost;
  // Half of the partners are near, the others far.
  const double inside = apart ? rounds(group.mates) : rounds(group.ranks);
  return {doubling, inside * bytes,
          apart ? (rounds(group.ranks) - inside) * bytes * of(group.at_once) : 0};
}

Cost reduce_scatter(const Cluster& cluster, const Group& group, double bytes) {
  return lesser(ring(cluster, group, bytes, 1), halves(cluster, group, bytes, 1));
}

Cost all_gather(const Cluster& cluster, const Group& group, double bytes) {
  return lesser(ring(cluster, group, bytes, 1), halves(cluster, group, bytes, 1));
}

double overlapped(double before, double compute, double after, int64_t chunks) {
  check(chunks >= 1, "cluster/cost_model", "expected at least 1 chunk, got ", chunks,
        ". Name another number.");
  const double C = of(chunks);
  return (before + compute + after) / C + (C - 1) / C * std::max(before + after, compute);
}

}  // namespace moe::cluster
