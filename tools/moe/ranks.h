#pragma once
// The program as one of several ranks that mpirun or srun started.

#include <memory>
#include <string>

#include <moe/parallel/communicator.h>
#include <moe/parallel/options.h>

namespace moe::tools {

/// "Open MPI v4.1.4 …", or that there is none: for --version.
std::string mpi_text();

/// Throws ConfigError for `command`, which knows no ranks, where a launcher started several.
void refuse_ranks(const std::string& command);

/// The ranks that a launcher started, this process one of them; the group of one where there is no
/// launcher, or only one rank, and then MPI is not touched. From here on all ranks but 0 are
/// silent. Throws ConfigError where this build has no MPI, and where the launcher's and MPI's
/// numbers of ranks differ.
std::shared_ptr<parallel::Communicator> join_ranks();
/// What the configuration says of ranks, and the process's number of threads; 0: this rank's share
/// of its machine's processors. Before threads are started. Does nothing where there are no ranks.
void use_ranks(const parallel::ParallelOptions& options, int64_t threads);
/// The regular end: waits for the other ranks. Does nothing where there are no ranks.
void leave_ranks();

/// Prints the error, with the rank and its machine where there are ranks, and unless another rank
/// does. Returns `status`, or ends the job where there are ranks. `consequence`: of the failure of
/// another rank, which the message names.
int report_error(int status, const std::string& message, bool consequence = false);

}  // namespace moe::tools
