#pragma once
// Where ranks that share memory meet for a collective. W ranks.

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

/// Who of the ranks of one process still runs; shared by all groups split from one another.
struct World {
  explicit World(int64_t size) : ranks(size) {}

  const int64_t ranks;
  std::mutex mutex;
  std::condition_variable changed;
  /// Ranks that were done while all was well, in the order they left.
  std::vector<int64_t> left;
  /// Why no collective can succeed any more; empty while all is well.
  std::string failure;
  /// Ranks that wait for another rank to arrive.
  int64_t waiting = 0;

  /// Under the lock: marks the failure when nobody is left who could wake those that wait.
  void detect_standstill();
};

/// What one rank brings to a collective.
struct Offer {
  std::string_view call;  // the collective's name; all ranks must bring the same
  at::Tensor tensor = {};
  std::vector<int64_t> send = {}, receive = {};
  int64_t root = 0, color = 0, key = 0;
};

/// A group of ranks that are threads: each lays down an offer, reads those of all, and goes on when
/// all have read.
///
/// Nobody spins and nobody waits for ever: `hold` throws on every rank when one has failed or left,
/// or when all wait for each other in different groups.
class Meeting {
 public:
  using Read = std::function<void(const std::vector<Offer>&)>;

  /// `members[r]` is the number in the world of the group's rank r.
  Meeting(std::shared_ptr<World> world, std::vector<int64_t> members);

  int64_t size() const { return static_cast<int64_t>(members_.size()); }

  /// Runs `read` on the offers of all ranks, by rank, once all have come. Offered tensors may be
  /// changed after hold has returned, not in `read`. What `read` throws, hold throws; the group
  /// stays usable if all ranks' reads throw. Offers of different calls throw on every rank.
  void hold(int64_t rank, Offer offer, const Read& read);

  /// Within a read: the meeting of the ranks `members` of this group; the same one for all of equal
  /// `color`.
  std::shared_ptr<Meeting> subgroup(int64_t color, const std::vector<int64_t>& members);

 private:
  void arrive(std::unique_lock<std::mutex>& lock, int64_t rank, Offer offer);
  void depart(std::unique_lock<std::mutex>& lock);
  /// Under the lock: why this meeting cannot complete, or "".
  std::string obstacle() const;
  void check_same_call() const;

  const std::shared_ptr<World> world_;
  const std::vector<int64_t> members_;
  // Written under the world's lock; offers_ is read without it between the last arrival and the
  // last departure.
  std::vector<Offer> offers_;
  std::vector<bool> present_;
  std::map<int64_t, std::shared_ptr<Meeting>> subgroups_;
  int64_t arrived_ = 0, departed_ = 0;
  int64_t opened_ = 0, closed_ = 0;  // meetings so far
};

}  // namespace moe::parallel
