// W ranks.

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <moe/base/error.h>
#include <moe/mpi/operation.h>
#include <moe/mpi/pause.h>
#include <moe/mpi/world.h>

namespace moe::parallel {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view kMpi = "parallel/mpi";
/// What a rank that left has sent may still be on its way.
constexpr auto kOnTheWay = 2s;

void copy_text(std::string_view text, char* to, size_t room) {
  const size_t size = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

/// Equal in all processes that can name each other by number.
std::string system_here() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string boot;
  in >> boot;
  struct stat space = {};
  if (boot.empty() || ::stat("/proc/self/ns/pid", &space) != 0) return {};
  return concat(boot, ' ', space.st_ino);
}

Member member_here() {
  Member out;
  ::gethostname(out.host, sizeof out.host - 1);
  out.process = ::getpid();
  copy_text(system_here(), out.system, sizeof out.system);
  ::sched_getaffinity(0, sizeof out.processors, &out.processors);
  return out;
}

}  // namespace

void check_mpi(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int size = 0;
  MPI_Error_string(code, text, &size);
  moe::fail(kMpi, "expected ", function, " to succeed, got '",
            std::string(text, static_cast<size_t>(size)), "'. Look at what MPI itself printed.");
}

MpiWorld::MpiWorld(MpiOptions options) : options_(std::move(options)) {
  check<ConfigError>(
      options_.message_bytes >= 65536 && options_.message_bytes <= std::numeric_limits<int>::max(),
      kMpi, "expected message_bytes in [65536, 2^31), got ", options_.message_bytes,
      ". Correct it.");
  int used = 0, provided = 0;
  MPI_Initialized(&used);
  check(used == 0, kMpi, "expected MPI not to be in use, it is. Make one moe::parallel::Mpi.");
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  check(provided >= MPI_THREAD_SERIALIZED, kMpi,
        "expected an MPI that several threads may use in turn, got one for a single thread. Use "
        "one built with support of threads.");
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &data_), "MPI_Comm_dup");
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &notes_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(data_, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(notes_, MPI_ERRORS_RETURN);
  int rank = 0, size = 1;
  check_mpi(MPI_Comm_rank(data_, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(data_, &size), "MPI_Comm_size");
  rank_ = rank;
  size_ = size;
  void* limit = nullptr;
  int found = 0;
  MPI_Comm_get_attr(data_, MPI_TAG_UB, static_cast<void*>(&limit), &found);
  if (found != 0) tag_limit_ = *static_cast<int*>(limit);
  introduce();
  if (size_ == 1) return;
  listen();
  thread_ = std::thread([this] { watch_ranks(); });
}

MpiWorld::~MpiWorld() = default;

void MpiWorld::introduce() {
  const Member here = member_here();
  members_.resize(static_cast<size_t>(size_));
  check_mpi(
      MPI_Allgather(&here, sizeof here, MPI_BYTE, members_.data(), sizeof here, MPI_BYTE, data_),
      "MPI_Allgather");
  std::map<std::string, int64_t> numbers;
  int64_t beside = 0;
  for (const auto& member : members_) {
    // Containers on one machine may bear one name each, machines of a cloud all the same.
    const std::string machine = concat(member.host, ' ', std::string(member.system).substr(0, 36));
    machines_.push_back(numbers.emplace(machine, numbers.size()).first->second);
  }
  for (const int64_t machine : machines_) beside += machine == machines_[rank_];
  crowded_ = beside > ::sysconf(_SC_NPROCESSORS_ONLN);
  left_.resize(members_.size());
  before_ = (rank_ + size_ - 1) % size_;
  last_sign_ = last_sent_ = last_look_ = Clock::now();
}

std::string MpiWorld::name_of(int64_t rank) const {
  return concat("rank ", rank, " on ", members_[static_cast<size_t>(rank)].host);
}

void MpiWorld::set_limits(const ParallelOptions& options) {
  const std::lock_guard lock(mutex);
  limits_ = options;
}

void MpiWorld::start(const std::shared_ptr<Operation>& operation) {
  {
    const std::lock_guard lock(mutex);
    if (failure_) throw RankFailure(failure_->text, failure_->found_here);
    operation->begin();
    running_.push_back(operation);
  }
  if (operation->started()) wake_.notify_one();
}

void MpiWorld::progress() {
  for (auto operation = running_.begin(); operation != running_.end();) {
    (*operation)->advance();
    if ((*operation)->done())
      operation = running_.erase(operation);
    else
      ++operation;
  }
}

void MpiWorld::wait(const std::shared_ptr<Operation>& operation) {
  const auto since = Clock::now();
  Pause pause(crowded_);
  while (true) {
    {
      const std::lock_guard lock(mutex);
      if (!failure_ && !operation->done()) {
        try {
          progress();
        } catch (const std::exception& error) {
          note_failure(concat(name_of(rank_), ": ", error.what()), true);
        }
      }
      if (operation->done()) return;
      check_possible(*operation, since);
    }
    pause.wait();
  }
}

void MpiWorld::check_possible(const Operation& operation, Clock::time_point since) {
  if (failure_) throw RankFailure(failure_->text, failure_->found_here);
  const auto now = Clock::now();
  const double waited = std::chrono::duration<double>(now - since).count();
  // The ranks of one group pass its collectives in order: the first that is stuck holds up all.
  const auto first = std::ranges::find_if(running_, [&](const auto& running) {
    return &running->group() == &operation.group() && !running->missing().empty();
  });
  if (first == running_.end()) return;
  const auto missing = (*first)->missing();
  for (const int64_t rank : missing)
    if (left_[static_cast<size_t>(rank)] && now - *left_[static_cast<size_t>(rank)] > kOnTheWay)
      moe::fail(kMpi, name_of(rank_), " in ", (*first)->name(),
                ": expected every rank of the group to take part, but ", name_of(rank),
                " has left. Let all ranks make the same calls.");
  // One after the other, so that one rank finds it and tells the others.
  if (waited < limits_.timeout + 0.25 * static_cast<double>(std::min<int64_t>(rank_, 40))) return;
  std::vector<std::string> names;
  for (const int64_t rank : missing) names.push_back(name_of(rank));
  note_failure(concat("[", kMpi, "] expected ", join(names), " to come to ", (*first)->name(),
                      ", got nothing in ", limits_.timeout, " s, seen from ", name_of(rank_),
                      ". Look what it does there, or raise parallel.timeout."),
               true);
  throw RankFailure(failure_->text, true);
}

bool MpiWorld::blocked_by_left() const {
  return std::ranges::all_of(running_, [&](const auto& operation) {
    return std::ranges::any_of(operation->missing(), [&](int64_t rank) {
      const auto& left = left_[static_cast<size_t>(rank)];
      return left && Clock::now() - *left > kOnTheWay;
    });
  });
}

bool MpiWorld::all_left() const {
  return std::ranges::all_of(left_, [](const auto& left) { return left.has_value(); });
}

bool MpiWorld::fail(const std::string& reason) {
  if (size_ == 1) return true;
  const auto told = [&] {
    const std::lock_guard lock(mutex);
    return failure_.has_value();
  };
  // What is wrong on all ranks, such as the configuration, is said by the lowest.
  for (int64_t i = 0; rank_ > 0 && i < 50 && !told(); ++i) std::this_thread::sleep_for(10ms);
  const std::lock_guard lock(mutex);
  const auto takes = [&] { return !std::exchange(failure_->told, true); };
  if (failure_ && failure_->found_here) return takes();
  if (failure_) return failure_->text.find(reason.substr(0, 500)) == std::string::npos;
  note_failure(concat(name_of(rank_), " failed: ", reason), true);
  return takes();
}

void MpiWorld::end(int status) {
  if (ending_.exchange(true))
    while (true) std::this_thread::sleep_for(1s);  // another thread is at it
  // Whatever MPI does, the process ends.
  std::signal(SIGALRM, SIG_DFL);
  ::alarm(6);
  std::cout.flush();
  if (size_ == 1) ::_exit(status);
  bool found_here = true;
  const auto until = Clock::now() + 1s;
  bool sent = false;
  while (!sent && Clock::now() < until) {
    if (std::unique_lock lock(mutex, std::try_to_lock); lock) {
      found_here = !failure_ || failure_->found_here;
      sent = all_sent();
    }
    std::this_thread::sleep_for(2ms);
  }
  // The launcher ends all that is left, also what cannot end itself. Who only heard of the failure
  // leaves that to the rank that found it.
  if (!found_here) std::this_thread::sleep_for(2s);
  std::unique_lock lock(mutex, std::defer_lock);
  for (int i = 0; i < 500 && !lock.try_lock(); ++i) std::this_thread::sleep_for(2ms);
  MPI_Abort(MPI_COMM_WORLD, status);
  ::_exit(status);
}

void MpiWorld::leave() {
  if (size_ > 1) {
    const auto step = [&](const auto& done) {
      while (true) {
        {
          const std::lock_guard lock(mutex);
          if (failure_) break;
          try {
            progress();
            receive_notes();
            if (done()) return;
          } catch (const std::exception& error) {
            note_failure(concat(name_of(rank_), ": ", error.what()), true);
          }
        }
        std::this_thread::sleep_for(1ms);
      }
      end(1);
    };
    step([&] { return blocked_by_left(); });  // true when nothing runs
    step([&] {
      if (!left_[static_cast<size_t>(rank_)]) {
        send_all(Sign::kLeft, "");
        left_[static_cast<size_t>(rank_)] = Clock::now();
      }
      return all_left() && all_sent();
    });
    {
      const std::lock_guard lock(mutex);
      leaving_ = true;
    }
    wake_.notify_one();
    thread_.join();
    // Nobody gives signs any more; the last ones are received, so that none is left to MPI.
    MPI_Request all = MPI_REQUEST_NULL;
    MPI_Ibarrier(notes_, &all);
    for (int done = 0, i = 0; done == 0 && i < 10000; ++i) {
      MPI_Test(&all, &done, MPI_STATUS_IGNORE);
      receive_notes();
      std::this_thread::sleep_for(1ms);
    }
    MPI_Cancel(&hearing_);
    MPI_Wait(&hearing_, MPI_STATUS_IGNORE);
    if (process_before_ >= 0) ::close(process_before_);
  }
  running_.clear();
  MPI_Comm_free(&notes_);
  MPI_Comm_free(&data_);
  MPI_Finalize();
}

}  // namespace moe::parallel
