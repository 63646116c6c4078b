#pragma once
// What collectives cost: seconds and bytes from the number of ranks, the bytes and the links.
// P ranks of a group, W ranks in all, R ranks a node.

#include <cstdint>

#include <moe/cluster/cluster.h>

namespace moe::cluster {

/// How a group of ranks lies on the nodes. Groups of one kind are alike and work at once.
///
/// A consecutive group of P ranks is r, r + 1, …, r + P - 1 (P divides W): ranks that share the
/// experts of a layer. A strided group of P ranks is r, r + W / P, r + 2 W / P, …: ranks that hold
/// the same experts.
struct Group {
  int64_t ranks = 1;  // P
  int64_t mates =
      1;  // ranks of the group in the node of the rank that has fewest, itself among them
  int64_t nodes = 1;     // that one group lies on, at most
  int64_t at_once = 1;   // ranks of all groups of its kind in one node
  int64_t crossing = 0;  // of them, those whose next in the group is in another node, at most

  static Group consecutive(const Cluster& cluster, int64_t ranks);
  static Group strided(const Cluster& cluster, int64_t ranks);
};

/// What one collective moves and how long it takes.
struct Cost {
  double seconds = 0;
  /// Sent by one rank to others of its node, and by all ranks of one node to other nodes.
  double inside_bytes = 0, between_bytes = 0;

  Cost& operator+=(const Cost& other) {
    seconds += other.seconds;
    inside_bytes += other.inside_bytes;
    between_bytes += other.between_bytes;
    return *this;
  }
  Cost operator*(double times) const {
    return {seconds * times, inside_bytes * times, between_bytes * times};
  }
};

/// Every rank of the group has `bytes` for all P ranks, the same share for each, itself among them.
///
/// Of a rank's bytes the share (m - 1) / P goes to the m - 1 others in its node and (P - m) / P to
/// other nodes, whose links all ranks of the node share:
///
///   inside  = bytes (m - 1) / P            between = R' bytes (P - m) / P, R' ranks at once a node
///   pairwise: t = (m - 1) a_in + (P - m) a_out + max(inside / b_in, between / b_out, across)
///   Bruck:    t = ceil(log2 P) (a + bytes / 2 / b), on the slower link it needs
///
/// with latency a and bandwidth b; t is the lesser of the two, as MPI's libraries choose (Bruck
/// et al. 1997). With a bisection B a consecutive group that lies on the share s of all nodes has
/// s B of it, and half of all bytes between its nodes cross: across = P bytes / 2 / (s B).
Cost all_to_all(const Cluster& cluster, const Group& group, double bytes);

/// Every rank ends with the sum over P ranks of `bytes` each: the least of three ways.
///
/// In pieces: each rank gets the pieces that it sums, adds them in rank order, and sends the sum to
/// all; or a ring. Both move 2 (P - 1) / P bytes a rank in 2 (P - 1) messages:
///
///   t = 2 (P - 1) a + 2 bytes (P - 1) / P / b
///
/// where a group lies on several nodes with the latency a between nodes, and the slower of a rank's
/// link and its node's: `crossing` ranks of a node send out of it at once, of consecutive groups
/// that cover whole nodes one, of strided ones up to all.
///
/// In halves (Rabenseifner 2004), first with near ranks, then with far ones, m of a group in a
/// node:
///
///   t = 2 (log2 m a_in + log2(P / m) a_out) + 2 bytes (m - 1) / m / b_in
///         + 2 crossing bytes (P - m) / P / b_out
///
/// For short ones recursive doubling: t = ceil(log2 P) (a + bytes / b).
Cost all_reduce(const Cluster& cluster, const Group& group, double bytes);

/// Every rank ends with the sum of its 1 / P of `bytes`, or, the other way, every rank starts with
/// 1 / P of `bytes` and ends with all: half of all_reduce each, without the way for short ones.
Cost reduce_scatter(const Cluster& cluster, const Group& group, double bytes);
Cost all_gather(const Cluster& cluster, const Group& group, double bytes);

/// Seconds of a part that computes for `compute` seconds between two exchanges of `before` and
/// `after` seconds, in `chunks` parts that overlap: exchanges share one link, so they overlap with
/// products and not with each other (Tutel, Hwang et al. 2023):
///
///   t = (before + compute + after) / C + (C - 1) / C max(before + after, compute)
///
/// The times are those of all chunks, with C times the latency in them.
double overlapped(double before, double compute, double after, int64_t chunks);

}  // namespace moe::cluster
