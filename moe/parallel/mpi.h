#pragma once
// Ranks that are processes, on one machine or many, and talk by MPI. In the library moe::mpi, which
// a build with MPI has (CMake option MOE_MPI); moe::moe itself needs none. W ranks.

#include <functional>
#include <memory>
#include <string>

#include <moe/base/error.h>
#include <moe/parallel/communicator.h>
#include <moe/parallel/options.h>

namespace moe::parallel {

class MpiWorld;

/// The name and version of the MPI library.
std::string mpi_version();

/// Another rank failed, died, hangs or left: no collective with it can succeed any more.
class RankFailure : public Error {
 public:
  RankFailure(const std::string& message, bool found_here)
      : Error(message), found_here_(found_here) {}
  /// Whether this rank found it; the others, which it told them, need not say it again.
  bool found_here() const { return found_here_; }

 private:
  bool found_here_;
};

struct MpiOptions {
  /// Called once on the rank that finds another one dead, stopped or gone, as soon as it does, by
  /// the thread that watches. Default: prints "error: …" on standard error.
  std::function<void(const std::string& message)> tell = {};
  /// Messages of more bytes go in parts. MPI counts to 2^31.
  int64_t message_bytes = int64_t{1} << 30;
};

/// MPI, from the construction of this object to its end; one a process, made and ended on the main
/// thread. Every rank of the job has one.
///
/// A thread beside the program's drives what was started and not waited for, and watches over the
/// ranks: each gives signs of life to the next one. When one is silent for too long, has died,
/// failed or keeps others waiting for too long, the collectives of all ranks throw RankFailure, and
/// a rank whose program does not come to one within some seconds is ended. The job never hangs.
class Mpi {
 public:
  /// Throws moe::Error when MPI cannot be used by several threads in turn, or is in use already.
  explicit Mpi(MpiOptions options = {});
  Mpi(const Mpi&) = delete;
  Mpi& operator=(const Mpi&) = delete;
  /// Waits until all ranks come to their end, and ends MPI. In the unwinding of an exception, and
  /// after a failure, ends the process instead, as `end` with status 1.
  ~Mpi();

  /// All ranks. CPU tensors of any dtype and size. Arguments that are wrong on one rank throw on
  /// all.
  std::shared_ptr<Communicator> world() const;
  int64_t rank() const;
  int64_t size() const;
  /// "rank 3 on node7"
  std::string name() const;
  /// The name of the machine of a rank.
  std::string host(int64_t rank) const;

  /// How many machines there are, and ranks on this one.
  int64_t machines() const;
  int64_t machine_ranks() const;

  /// How long to wait for ranks; any time.
  void set_limits(const ParallelOptions& options);
  /// Where the launcher bound this process to no processors of its own: binds it to its share of
  /// those it may use, if they are enough for all ranks of this machine, and `pin` asks for it.
  /// Call it before threads are started. The number of threads that suits this rank.
  int64_t take_processors(bool pin = true);
  /// Bytes that this rank has given to MPI for others so far, headers included.
  int64_t bytes_sent() const;

  /// This rank fails for `reason`: tells the others, whose collectives throw it. False when another
  /// rank has told the same, or a failure that this one follows from: it need not be said again.
  bool fail(const std::string& reason);
  /// Ends the job after a failure: this process with `status`, all others too.
  [[noreturn]] void end(int status);

 private:
  std::shared_ptr<MpiWorld> world_;
  std::shared_ptr<Communicator> ranks_;
};

}  // namespace moe::parallel
