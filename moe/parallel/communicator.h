#pragma once
// Ranks that talk to each other. R rows, W ranks.

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

using at::Tensor;

enum class Reduce { kSum, kMax };

/// A group of ranks. Every collective must be called by all ranks of the group in the same order,
/// also by ranks that have nothing to send. Tensors are contiguous and live on the device of the
/// backend; the results do not depend on timing (sums add in rank order). A call throws moe::Error
/// when another rank failed or left.
///
/// One Communicator belongs to one rank and is used by one thread at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  /// Every rank ends with the reduction of all; in place.
  virtual void all_reduce(Tensor& values, Reduce reduce = Reduce::kSum) = 0;
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
};

/// The group of one rank: every collective is the identity.
std::shared_ptr<Communicator> local();

}  // namespace moe::parallel
