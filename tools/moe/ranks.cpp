#include "tools/moe/ranks.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <thread>

#include <ATen/Parallel.h>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/parallel/launch.h>
#include <moe/parallel/mpi.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

/// How long a rank whose command line is wrong leaves it to rank 0 to say so, whose end ends all.
constexpr std::chrono::seconds kRankZeroSpeaks(2);

std::optional<parallel::Launch> launched() {
  auto launch = parallel::launch_of_environment();
  return launch && launch->ranks > 1 ? launch : std::nullopt;
}

#ifdef MOE_WITH_MPI
// Reached from the places where the program ends.
std::optional<parallel::Mpi> mpi;
#endif

}  // namespace

std::string mpi_text() {
#ifdef MOE_WITH_MPI
  return parallel::mpi_version();
#else
  return "none: built without, so it runs as one process";
#endif
}

void refuse_ranks(const std::string& command) {
  const auto launch = launched();
  if (!launch) return;
  fail<ConfigError>("moe " + command, "expected one process, got ", launch->ranks, " from ",
                    launch->launcher, ": only `moe train` runs on several ranks. Start it without ",
                    launch->launcher, ", or with one rank.");
}

std::shared_ptr<parallel::Communicator> join_ranks() {
  const auto launch = launched();
  if (!launch) return parallel::local();
#ifdef MOE_WITH_MPI
  mpi.emplace();
  check<ConfigError>(mpi->size() == launch->ranks, launch->launcher, "expected ", launch->ranks,
                     " ranks, MPI knows of ", mpi->size(),
                     ": the launcher and the MPI that moe was built with (", mpi_text(),
                     ") do not know each other. Use that MPI's mpirun, or srun --mpi=pmix.");
  log::set_silent(mpi->rank() > 0);
  return mpi->world();
#else
  fail<ConfigError>(launch->launcher, "expected a moe with MPI for ", launch->ranks,
                    " ranks, got one built without. Install libopenmpi-dev and openmpi-bin and "
                    "build anew, or start it without ",
                    launch->launcher, '.');
#endif
}

void use_ranks([[maybe_unused]] const parallel::ParallelOptions& options,
               [[maybe_unused]] int64_t threads) {
#ifdef MOE_WITH_MPI
  if (!mpi) return;
  mpi->set_limits(options);
  const int64_t usable = usable_cores();
  const int64_t share = std::min(mpi->take_processors(options.pin), usable);
  at::set_num_threads(static_cast<int>(threads > 0 ? threads : share));
  const int64_t cores = std::thread::hardware_concurrency();
  if (threads == 0 && mpi->machine_ranks() * share * 2 <= cores)
    log::warn(concat("the launcher leaves ", mpi->machine_ranks() * share, " of ", cores,
                     " processors to the ", mpi->machine_ranks(),
                     " ranks of this machine: mpirun --bind-to none lets them share all, "
                     "srun takes --cpus-per-task."));
  log::info(concat(mpi->size(), " ranks on ", mpi->machines(),
                   mpi->machines() == 1 ? " machine" : " machines", ", ", at::get_num_threads(),
                   at::get_num_threads() == 1 ? " thread" : " threads", " a rank, ", mpi_text()));
#endif
}

void leave_ranks() {
#ifdef MOE_WITH_MPI
  mpi.reset();
#endif
}

int report_error(int status, const std::string& message, [[maybe_unused]] bool consequence) {
  std::cout.flush();
#ifdef MOE_WITH_MPI
  if (mpi) {
    if (mpi->fail(message)) {
      const std::string who = consequence ? "" : mpi->name() + ": ";
      std::fprintf(stderr, "error: %s%s\n", who.c_str(), message.c_str());
    }
    mpi->end(status);
  }
#endif
  const auto launch = launched();
  if (launch && launch->rank > 0) std::this_thread::sleep_for(kRankZeroSpeaks);
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return status;
}

}  // namespace moe::tools
