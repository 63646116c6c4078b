#pragma once
// Ranks that are threads of one process and share memory. W ranks.

#include <functional>
#include <memory>
#include <string>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

struct World;
class Meeting;

/// W ranks in one process, each used by one thread of the caller's. Nothing is copied but results.
/// Sums of 16-bit types add in float32 and round once. Arguments that are wrong on one rank throw
/// the same error on all.
class ThreadGroup {
 public:
  /// Throws ConfigError unless `ranks` is in [1, 1024].
  explicit ThreadGroup(int64_t ranks);

  /// The group as `rank` sees it.
  std::shared_ptr<Communicator> communicator(int64_t rank) const;
  /// `rank` takes part no more: collectives that need it throw on the others, instead of waiting
  /// for ever.
  void leave(int64_t rank);
  /// `rank` failed: all waiting and later collectives of all ranks throw, naming it.
  void fail(int64_t rank, const std::string& reason);

 private:
  std::shared_ptr<World> world_;
  std::shared_ptr<Meeting> meeting_;
};

/// Runs `function` on W ranks, each a new thread with its share of this process's threads for
/// operators. Returns when all have ended; rethrows the first exception. A rank that throws makes
/// the collectives of the others throw.
void run_ranks(int64_t ranks, const std::function<void(std::shared_ptr<Communicator>)>& function);

}  // namespace moe::parallel
