// How ranks watch over each other. W ranks.
//
// Each gives a sign of life to the next one, about once a second, from a thread that does nothing
// else: a rank that computes for long is not silent, one that was stopped, or whose machine is
// gone, is. Who finds that tells all. A process that ends on the same machine is seen at once.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ATen/Parallel.h>

#include <moe/base/error.h>
#include <moe/mpi/operation.h>
#include <moe/mpi/world.h>

#if __has_include(<omp.h>)
#include <omp.h>
#else
extern "C" void omp_set_num_threads(int threads);
#endif

namespace moe::parallel {

namespace {

using namespace std::chrono_literals;

/// Between looks at the others; shorter while something started is to be driven.
constexpr std::chrono::microseconds kLook = 50ms, kDrive = 500us;
/// How long the program of a rank may take to come to a collective, which throws, before it is
/// ended.
constexpr auto kGrace = 4s;
/// What a process has sent before it ended may still be on its way.
constexpr auto kLastWords = 200ms;

}  // namespace

void MpiWorld::watch_ranks() {
  // What it adds up it adds up alone, beside the threads of the program.
  at::get_num_threads();
  omp_set_num_threads(1);
#ifdef SYS_pidfd_open
  const Member &here = members_[rank_], &before = members_[before_];
  if (here.system[0] != '\0' && std::strcmp(here.system, before.system) == 0)
    process_before_ = static_cast<int>(::syscall(SYS_pidfd_open, before.process, 0));
#endif
  std::unique_lock lock(mutex);
  while (!leaving_) {
    const auto now = Clock::now();
    try {
      if (!failure_) progress();
      receive_notes();
      if (!failure_) {
        give_sign(now);
        watch(now);
      }
      all_sent();
    } catch (const std::exception& error) {
      note_failure(concat(name_of(rank_), ": ", error.what()), true);
    }
    if (failure_) tell();
    if (failure_ && now - failure_->when > kGrace && !ending_) {
      lock.unlock();
      end(1);
    }
    wake_.wait_for(lock, running_.empty() ? kLook : kDrive);
  }
}

void MpiWorld::tell() {
  if (!failure_->found_here || failure_->told) return;
  failure_->told = true;
  // At once: a launcher that sees a process die soon ends all others.
  if (options_.tell)
    options_.tell(failure_->text);
  else
    std::fprintf(stderr, "error: %s\n", failure_->text.c_str());
}

void MpiWorld::listen() {
  check_mpi(MPI_Irecv(&heard_, sizeof heard_, MPI_BYTE, MPI_ANY_SOURCE, 0, notes_, &hearing_),
            "MPI_Irecv");
}

void MpiWorld::receive_notes() {
  while (hearing_ != MPI_REQUEST_NULL) {
    int heard = 0;
    check_mpi(MPI_Test(&hearing_, &heard, MPI_STATUS_IGNORE), "MPI_Test");
    if (heard == 0) return;
    const int64_t from = heard_.rank;
    switch (heard_.sign) {
      case Sign::kAlive:
        if (from == before_) last_sign_ = Clock::now();
        break;
      case Sign::kLeft:
        left_[static_cast<size_t>(from)] = Clock::now();
        break;
      case Sign::kFailed:
        if (!failure_) note_failure(heard_.text, false);
        break;
    }
    listen();
  }
}

void MpiWorld::send(int64_t to, Sign sign, const std::string& text) {
  SentNote& sent = sent_.emplace_back();
  sent.note.sign = sign;
  sent.note.rank = static_cast<int32_t>(rank_);
  std::memcpy(sent.note.text, text.data(), std::min(text.size(), sizeof sent.note.text - 1));
  check_mpi(MPI_Isend(&sent.note, sizeof sent.note, MPI_BYTE, static_cast<int>(to), 0, notes_,
                      &sent.request),
            "MPI_Isend");
}

void MpiWorld::send_all(Sign sign, const std::string& text) {
  for (int64_t w = 0; w < size_; ++w)
    if (w != rank_) send(w, sign, text);
}

bool MpiWorld::all_sent() {
  sent_.remove_if([](SentNote& sent) {
    int done = 0;
    check_mpi(MPI_Test(&sent.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
  });
  return sent_.empty();
}

void MpiWorld::note_failure(const std::string& text, bool found_here) {
  if (failure_) return;  // the first is the cause
  failure_ = Failure{.text = text, .found_here = found_here, .when = Clock::now()};
  if (!found_here) return;
  try {
    send_all(Sign::kFailed, text);
  } catch (const Error&) {
    // Who cannot be told any more finds it alone.
  }
}

void MpiWorld::give_sign(Clock::time_point now) {
  if (now - last_sent_ < 1s || sent_.size() > 8) return;
  last_sent_ = now;
  send((rank_ + 1) % size_, Sign::kAlive, "");
}

bool MpiWorld::process_has_ended() const {
  if (process_before_ < 0) return false;
  pollfd ended = {.fd = process_before_, .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, 0) == 1;
}

void MpiWorld::watch(Clock::time_point now) {
  // Where this rank itself was held up, its view of others is old.
  if (now - last_look_ > 2s) last_sign_ = now;
  last_look_ = now;
  if (left_[static_cast<size_t>(before_)]) return;
  const auto process = members_[static_cast<size_t>(before_)].process;
  if (process_has_ended()) {
    if (!ended_before_) ended_before_ = now;
    if (now - *ended_before_ > kLastWords)
      note_failure(concat("[parallel/mpi] ", name_of(before_), " has ended (process ", process,
                          "): it was killed, or ran out of memory. Look at that machine's log; "
                          "--resume goes on from the last checkpoint."),
                   true);
    return;
  }
  const double silent = std::chrono::duration<double>(now - last_sign_).count();
  if (silent > limits_.silence)
    note_failure(concat("[parallel/mpi] ", name_of(before_), " gave no sign of life for ",
                        limits_.silence, " s (process ", process,
                        "): it is stopped, or its machine or network is gone. --resume goes on "
                        "from the last checkpoint."),
                 true);
}

}  // namespace moe::parallel
