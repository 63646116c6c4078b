#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace moe::parallel {

/// What the program that started this process says of it and of its like.
struct Launch {
  std::string launcher;  // "mpirun" or "srun"
  int64_t rank = 0, ranks = 1;
};

/// What the environment says of a launcher: Open MPI's and MPICH's mpirun and Slurm's srun. Nothing
/// when there is none, and in a batch script of Slurm, which is one process whatever the job has.
/// Starts nothing.
std::optional<Launch> launch_of(const std::function<const char*(const char* name)>& variable);
std::optional<Launch> launch_of_environment();

}  // namespace moe::parallel
