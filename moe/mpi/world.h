#pragma once
// All ranks of a job as one of them sees them: what is under way, who lives, who failed. W ranks.
//
// MPI is used by one thread at a time, under `mutex`, and by calls that do not wait: so the thread
// that watches always gets its turn, whatever the program's own thread waits for.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mpi.h>
#include <mutex>
#include <optional>
#include <sched.h>
#include <string>
#include <thread>
#include <vector>

#include <moe/parallel/mpi.h>

namespace moe::parallel {

class Operation;
using Clock = std::chrono::steady_clock;

/// What a rank tells of itself at the start.
struct Member {
  char host[256] = {};
  int64_t process = 0;
  char system[64] = {};  // equal where process numbers mean the same: boot and namespace
  cpu_set_t processors = {};
};

/// Throws moe::Error when an MPI function did not succeed.
void check_mpi(int code, const char* function);

class MpiWorld : public std::enable_shared_from_this<MpiWorld> {
 public:
  explicit MpiWorld(MpiOptions options);
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;
  ~MpiWorld();

  int64_t rank() const { return rank_; }
  int64_t size() const { return size_; }
  const std::vector<Member>& members() const { return members_; }
  /// "rank 3 on node7"
  std::string name_of(int64_t rank) const;
  /// Numbered from 0 in the order of their first ranks.
  int64_t machine_of(int64_t rank) const { return machines_[static_cast<size_t>(rank)]; }
  /// The largest block that goes with its header.
  int64_t small_bytes() const { return size_ <= 64 ? 4096 : 512; }
  int64_t message_bytes() const { return options_.message_bytes; }
  MPI_Comm data() const { return data_; }
  int tag_limit() const { return tag_limit_; }
  void set_limits(const ParallelOptions& options);
  void count_sent(int64_t bytes) { bytes_sent_ += bytes; }
  int64_t bytes_sent() const { return bytes_sent_; }

  /// Sends what begins an operation and takes it among those under way.
  void start(const std::shared_ptr<Operation>& operation);
  /// Returns when it is done; throws RankFailure when it cannot be.
  void wait(const std::shared_ptr<Operation>& operation);

  bool fail(const std::string& reason);
  [[noreturn]] void end(int status);
  /// Waits for all ranks to do the same, and ends MPI.
  void leave();

  /// Groups that this rank has been in, by number; under `mutex`.
  int64_t groups = 0;
  std::mutex mutex;

 private:
  struct Failure {
    std::string text;
    bool found_here = false;
    Clock::time_point when;
    bool told = false;  // by the thread that watches
  };
  enum class Sign : int32_t { kAlive, kFailed, kLeft };
  struct Note {  // what goes between ranks beside collectives
    Sign sign = Sign::kAlive;
    int32_t rank = 0;
    char text[1016] = {};
  };
  struct SentNote {
    Note note;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void introduce();
  // All below: under `mutex`.
  void progress();
  /// Why `operation` will not be done, if so: throws.
  void check_possible(const Operation& operation, Clock::time_point since);
  void note_failure(const std::string& text, bool found_here);
  void send(int64_t to, Sign sign, const std::string& text);
  void send_all(Sign sign, const std::string& text);
  bool all_sent();
  void listen();
  void receive_notes();
  void give_sign(Clock::time_point now);
  void watch(Clock::time_point now);
  bool process_has_ended() const;
  bool blocked_by_left() const;
  bool all_left() const;

  void watch_ranks();  // the body of thread_
  /// Says what this rank found, unless its program has begun to.
  void tell();

  const MpiOptions options_;
  int64_t rank_ = 0, size_ = 1;
  int tag_limit_ = 32767;
  MPI_Comm data_ = MPI_COMM_NULL, notes_ = MPI_COMM_NULL;
  std::vector<Member> members_;
  std::vector<int64_t> machines_;
  bool crowded_ = false;  // more ranks than processors on this machine
  ParallelOptions limits_;
  std::atomic<int64_t> bytes_sent_ = 0;

  std::list<std::shared_ptr<Operation>> running_;  // in the order of their start
  std::optional<Failure> failure_;
  std::vector<std::optional<Clock::time_point>> left_;  // by rank
  std::list<SentNote> sent_;
  Note heard_;
  MPI_Request hearing_ = MPI_REQUEST_NULL;
  int64_t before_ = 0;       // the rank that this one watches
  int process_before_ = -1;  // a descriptor of its process, where it is on this machine
  std::optional<Clock::time_point> ended_before_;
  Clock::time_point last_sign_, last_sent_, last_look_;

  std::atomic<bool> ending_ = false;
  std::condition_variable wake_;
  bool leaving_ = false;
  std::thread thread_;
};

}  // namespace moe::parallel
