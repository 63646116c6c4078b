// W ranks.

#include <algorithm>
#include <exception>
#include <numeric>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/mpi/communicator.h>
#include <moe/mpi/processors.h>
#include <moe/parallel/mpi.h>

namespace moe::parallel {

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int size = 0;
  MPI_Get_library_version(text, &size);
  // Open MPI says more behind a comma, MPICH on further lines.
  const std::string all(text, static_cast<size_t>(size));
  return all.substr(0, all.find_first_of(",\n"));
}

Mpi::Mpi(MpiOptions options) : world_(std::make_shared<MpiWorld>(std::move(options))) {
  auto group = std::make_shared<MpiGroup>();
  group->world = world_;
  group->members.resize(static_cast<size_t>(world_->size()));
  std::iota(group->members.begin(), group->members.end(), 0);
  group->rank = world_->rank();
  ranks_ = communicator_of(std::move(group));
}

Mpi::~Mpi() {
  if (std::uncaught_exceptions() > 0) {
    world_->fail("its program ended with an exception.");
    world_->end(1);
  }
  world_->leave();
}

std::shared_ptr<Communicator> Mpi::world() const {
  return ranks_;
}

int64_t Mpi::rank() const {
  return world_->rank();
}

int64_t Mpi::size() const {
  return world_->size();
}

std::string Mpi::name() const {
  return world_->name_of(world_->rank());
}

std::string Mpi::host(int64_t rank) const {
  return world_->members().at(static_cast<size_t>(rank)).host;
}

int64_t Mpi::machines() const {
  int64_t out = 0;
  for (int64_t w = 0; w < size(); ++w) out = std::max(out, world_->machine_of(w) + 1);
  return out;
}

int64_t Mpi::machine_ranks() const {
  int64_t out = 0;
  for (int64_t w = 0; w < size(); ++w) out += world_->machine_of(w) == world_->machine_of(rank());
  return out;
}

void Mpi::set_limits(const ParallelOptions& options) {
  world_->set_limits(options);
}

int64_t Mpi::take_processors(bool pin) {
  std::vector<cpu_set_t> masks;
  size_t mine = 0;
  for (int64_t w = 0; w < world_->size(); ++w) {
    if (world_->machine_of(w) != world_->machine_of(world_->rank())) continue;
    if (w == world_->rank()) mine = masks.size();
    masks.push_back(world_->members()[static_cast<size_t>(w)].processors);
  }
  const auto share = share_of_processors(masks, mine, processors_by_core());
  if (pin && !share.bind.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : share.bind) CPU_SET(cpu, &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0)
      log::warn(concat(name(), " could not be bound to its share of the processors; it goes on."));
  }
  return share.threads;
}

int64_t Mpi::bytes_sent() const {
  return world_->bytes_sent();
}

bool Mpi::fail(const std::string& reason) {
  return world_->fail(reason);
}

void Mpi::end(int status) {
  world_->end(status);
}

}  // namespace moe::parallel
