// The contract of Communicator, held against MPI: every rank is a process that runs all tests,
// started by mpirun.

#include "tests/mpi/mpi_program.h"
#include "tests/parallel/communicator_contract.h"

namespace moe::test {
namespace {

std::vector<Backend> backends() {
  return {{"mpi" + std::to_string(mpi().size()), mpi().size(),
           [](const auto& function) { function(mpi().world()); }}};
}

INSTANTIATE_TEST_SUITE_P(Backends, CommunicatorContract, testing::ValuesIn(backends()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace moe::test
