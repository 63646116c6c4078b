#pragma once
// Ranks that talk to each other. R rows, W ranks.

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

using at::Tensor;

enum class Reduce { kSum, kMax };

/// A collective that was started and goes on while its rank does other work. Movable, not copied.
///
/// The tensor it was started with must not be changed, and that of start_all_reduce not be read,
/// before wait has returned. A handle that is dropped without wait leaves its collective to
/// complete (the other ranks need this one's part); what goes wrong with it is then not told.
class Started {
 public:
  /// What a backend does for it.
  class Work {
   public:
    virtual ~Work() = default;  // leaves the collective to complete
    virtual Tensor wait() = 0;
  };

  Started() = default;
  explicit Started(std::unique_ptr<Work> work);

  /// Whether there is something to wait for: false by default and after wait.
  bool pending() const { return work_ != nullptr; }
  /// What the call that was started would have returned (all_reduce: its tensor); throws what it
  /// would have thrown. Once: throws moe::Error when nothing is pending.
  Tensor wait();

 private:
  std::unique_ptr<Work> work_;
};

/// A group of ranks. Every collective must be called by all ranks of the group in the same order,
/// also by ranks that have nothing to send. Tensors are contiguous and live on the device of the
/// backend; the results do not depend on timing (sums add in rank order; those of 16-bit types add
/// in float32 and round once). A call throws moe::Error when another rank failed or left, or called
/// something else.
///
/// Calls that start a collective belong to the same order. All ranks start it, or all ranks call
/// the one that waits; several may be under way, and be waited for in any order.
///
/// One Communicator belongs to one rank and is used by one thread at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  /// The machine that a rank of this group runs on: machines are numbered from 0, in the order of
  /// their first ranks.
  virtual int64_t machine(int64_t) const { return 0; }

  /// Every rank ends with the reduction of all; in place.
  virtual void all_reduce(Tensor& values, Reduce reduce = Reduce::kSum) = 0;
  /// The reduction over ranks of `rows`, which have the same sizes on all of them: the first
  /// counts[0] rows of it to rank 0, the next counts[1] to rank 1, … `counts`, which add up to all
  /// rows, are the same on every rank.
  virtual Tensor reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                  Reduce reduce = Reduce::kSum) = 0;
  /// Rows [0, send[0]) go to rank 0, the next send[1] to rank 1, …; returns the rows received, by
  /// sending rank. `receive[w]` must be what rank w sends here. Rows may have any trailing shape
  /// and dtype.
  virtual Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                              const std::vector<int64_t>& receive) = 0;
  /// The rows of all ranks, by rank; `counts[w]` rows come from rank w.
  virtual Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) = 0;
  /// Every rank ends with the values of `root`; in place.
  virtual void broadcast(Tensor& values, int64_t root) = 0;
  virtual void barrier() = 0;
  /// Ranks of equal `color` form a new group, ordered by (key, rank).
  virtual std::shared_ptr<Communicator> split(int64_t color, int64_t key) = 0;

  /// The calls above, without waiting for what comes of them. A wrong argument too is told by wait.
  virtual Started start_all_reduce(Tensor values, Reduce reduce = Reduce::kSum) = 0;
  virtual Started start_reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                         Reduce reduce = Reduce::kSum) = 0;
  virtual Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                                     const std::vector<int64_t>& receive) = 0;
  virtual Started start_all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) = 0;
};

/// The group of one rank: every collective is the identity.
std::shared_ptr<Communicator> local();

}  // namespace moe::parallel
