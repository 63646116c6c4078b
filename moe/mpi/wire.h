#pragma once
// What ranks say to each other before rows move. W ranks.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <moe/parallel/arguments.h>
#include <moe/parallel/communicator.h>

namespace moe::parallel {

enum class Collective : int32_t {
  kAllReduce,
  kReduceScatter,
  kAllToAll,
  kAllGather,
  kBroadcast,
  kBarrier,
  kSplit
};

/// A collective as a rank calls it.
struct Call {
  Collective what = Collective::kBarrier;
  Reduce reduce = Reduce::kSum;
  bool started = false;
  Tensor tensor = {};
  std::vector<int64_t> send = {}, receive = {};
  int64_t root = 0, color = 0, key = 0;

  bool reduces() const {
    return what == Collective::kAllReduce || what == Collective::kReduceScatter;
  }
  bool has_tensor() const { return what != Collective::kBarrier && what != Collective::kSplit; }
};

/// Goes before the rows, to every rank of the group: so that all know what all call, and that
/// wrong arguments on one rank throw on all. Small blocks of rows follow in the same message.
struct Header {
  static constexpr int64_t kMostDimensions = 8;

  int64_t sequence = 0;  // number of the collective in its group
  int32_t what = 0;      // Collective, Reduce, and whether it was started
  int32_t refused = 0;   // 1: behind the header stands why this rank refuses its arguments
  int32_t dtype = 0, dimensions = 0;
  int64_t sizes[kMostDimensions] = {};
  int64_t to_you = 0, from_you = 0;         // rows
  uint64_t all_sent = 0, all_expected = 0;  // sums over ranks of hashes; equal if all counts agree
  int64_t root = 0, color = 0, key = 0;
  int64_t group = 0;   // split: groups this rank has been in
  int64_t behind = 0;  // bytes that follow
};
static_assert(sizeof(Header) % 16 == 0, "what follows is aligned");

/// Collective, reduction and whether it was started, as one number and as the name people read.
int32_t code_of(const Call& call);
std::string name_of(int32_t code);

/// The header for all ranks, without what differs between them. A tensor must be defined and have
/// at most kMostDimensions.
Header header_of(const Call& call, int64_t sequence);
TensorKind kind_of(const Header& header);

/// Of `rows` rows that go from rank `from` to rank `to`. Sums of it over all pairs differ when the
/// counts of any pair do, but for one in 2^64.
uint64_t hash_of(int64_t from, int64_t to, int64_t rows);
uint64_t hash_of(const std::vector<int64_t>& counts);

}  // namespace moe::parallel
