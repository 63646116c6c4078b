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
/// all have read. A rank may lay down several before it reads the first: they meet in the order
/// they were laid.
///
/// Nobody spins and nobody waits for ever: `hold` and `join` throw on every rank when one has
/// failed or left, or when all wait for each other in different groups.
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

  /// The same in two steps: lays down an offer, whose tensor nobody may change any more, and
  /// returns without waiting. `join` or `drop` follows, once, on the same rank.
  int64_t lay(int64_t rank, Offer offer);
  /// Runs `read` on all offers to what `lay` returned the number of; does not wait for the others
  /// to have read too.
  void join(int64_t rank, int64_t number, const Read& read);
  /// Does without reading.
  void drop(int64_t number);

  /// Within a read: the meeting of the ranks `members` of this group; the same one for all of equal
  /// `color`.
  std::shared_ptr<Meeting> subgroup(int64_t number, int64_t color,
                                    const std::vector<int64_t>& members);

 private:
  /// One collective.
  struct Round {
    std::vector<Offer> offers;  // read without the lock between the last arrival and departure
    std::vector<bool> present;
    int64_t arrived = 0, departed = 0, blocked = 0;
    std::map<int64_t, std::shared_ptr<Meeting>> subgroups = {};
  };

  std::shared_ptr<Round> round(int64_t number);
  /// Under the lock: waits until all ranks have come to a round.
  void await(std::unique_lock<std::mutex>& lock, Round& round, int64_t rank);
  /// Under the lock: one more has read.
  void depart(int64_t number, Round& round);
  /// Under the lock: why this round cannot complete, or "".
  std::string obstacle(const Round& round) const;
  void check_same_call(const Round& round) const;

  const std::shared_ptr<World> world_;
  const std::vector<int64_t> members_;
  // Under the world's lock.
  std::map<int64_t, std::shared_ptr<Round>> rounds_;  // that not all have read
  std::vector<int64_t> laid_;                         // offers so far, by rank
};

}  // namespace moe::parallel
