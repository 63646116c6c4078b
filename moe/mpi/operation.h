#pragma once
// One collective under way. W ranks.

#include <cstddef>
#include <exception>

#include <moe/mpi/group.h>
#include <moe/mpi/wire.h>

namespace moe::parallel {

/// A collective of one rank from its headers to its result, driven by calls of `advance`, none of
/// which waits.
///
/// 1. Every rank sends every other a header, small blocks of rows with it. With all headers there,
///    every rank knows whether the calls agree; if not, all throw and nothing else is sent.
/// 2. Larger blocks go from rank to rank. Sums: rank w gets its part from all, and adds in the
///    order of ranks.
/// 3. all_reduce and broadcast of many values: each rank sends its part to all others.
///
/// All functions: under the world's mutex.
class Operation {
 public:
  Operation(std::shared_ptr<MpiGroup> group, Call call);

  /// Sends the headers.
  void begin();
  /// Does what can be done now. What goes wrong with MPI itself it throws.
  void advance();
  bool done() const { return phase_ == Phase::kDone; }
  /// The result; throws what was wrong with the call.
  Tensor result() const;
  /// What every rank of the group brought; the result of a split.
  const std::vector<Header>& headers() const { return headers_; }

  const MpiGroup& group() const { return *group_; }
  /// Whether its rank may do other work meanwhile.
  bool started() const { return call_.started; }
  std::string name() const { return name_of(code_of(call_)); }
  /// Ranks in the world that something is still to come from or to go to.
  std::vector<int64_t> missing() const;

 private:
  enum class Phase { kHeaders, kExchange, kGather, kDone };
  struct Block {
    std::byte* data = nullptr;
    int64_t bytes = 0;
  };

  std::string place(int64_t rank) const;
  size_t ranks() const { return group_->members.size(); }
  bool is_me(size_t w) const { return static_cast<int64_t>(w) == group_->rank; }
  bool small(int64_t bytes) const { return bytes <= group_->world->small_bytes(); }
  /// Whether many values travel as one part a rank, in two exchanges.
  bool in_parts() const;
  /// The values of `values` that rank w adds up or passes on.
  Block part(const Tensor& values, size_t w) const;

  void check_here() const;
  void plan();
  void write_headers();
  void check_all() const;
  void check_counts_agree() const;
  void begin_exchange();
  void finish_exchange();
  Tensor reduced_part() const;
  void begin_gather();
  void finish();

  void send(size_t w, const void* data, int64_t bytes, int stage);
  void receive(size_t w, void* data, int64_t bytes, int stage);
  /// Whether all that was sent and is to be received is through.
  bool settled();

  const std::shared_ptr<MpiGroup> group_;
  Call call_;
  Phase phase_ = Phase::kHeaders;
  int64_t sequence_ = 0;
  std::string refusal_;  // why this rank's arguments are wrong
  std::exception_ptr problem_;
  Tensor result_;

  std::vector<Block> out_, in_;  // by rank; `in_` has its bytes from the start, its place later
  std::vector<std::byte> sent_headers_, received_headers_;
  std::vector<Header> headers_;
  std::vector<Tensor> scratch_;  // parts of others that are to be added

  std::vector<MPI_Request> requests_;
  std::vector<int64_t> peers_;  // of the requests, in the world
  std::vector<int> finished_;
};

}  // namespace moe::parallel
