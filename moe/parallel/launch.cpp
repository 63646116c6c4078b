#include <charconv>
#include <cstdlib>
#include <cstring>

#include <moe/parallel/launch.h>

namespace moe::parallel {

namespace {

std::optional<int64_t> number(const char* text) {
  if (!text) return std::nullopt;
  int64_t out = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, problem] = std::from_chars(text, end, out);
  if (problem != std::errc() || stop != end || out < 0) return std::nullopt;
  return out;
}

struct Names {
  const char *launcher, *rank, *ranks;
};

// A step of Slurm may start mpirun, and then also has variables of its own: mpirun's come first.
constexpr Names kNames[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"mpirun", "PMI_RANK", "PMI_SIZE"},
    // Not SLURM_NTASKS, which a batch script has too.
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

}  // namespace

std::optional<Launch> launch_of(const std::function<const char*(const char*)>& variable) {
  for (const auto& names : kNames) {
    const auto rank = number(variable(names.rank)), ranks = number(variable(names.ranks));
    if (rank && ranks && *rank < *ranks) return Launch{names.launcher, *rank, *ranks};
  }
  return std::nullopt;
}

std::optional<Launch> launch_of_environment() {
  return launch_of([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace moe::parallel
