// The contract of Communicator, held against the backends of one process. W ranks.

#include <atomic>

#include <moe/parallel/threads.h>

#include "tests/parallel/communicator_contract.h"

namespace moe::test {
namespace {

using parallel::run_ranks;

std::vector<Backend> backends() {
  std::vector<Backend> result = {
      {"local", 1, [](const auto& function) { function(parallel::local()); }}};
  for (int64_t ranks = 1; ranks <= 4; ++ranks)
    result.push_back({"threads" + std::to_string(ranks), ranks,
                      [ranks](const auto& function) { run_ranks(ranks, function); }});
  return result;
}

INSTANTIATE_TEST_SUITE_P(Backends, CommunicatorContract, testing::ValuesIn(backends()),
                         [](const auto& info) { return info.param.name; });

TEST_P(CommunicatorContract, BarrierWaitsForAll) {
  std::atomic<int64_t> arrived = 0;
  run([&](Group group) {
    for (int64_t round = 1; round <= 20; ++round) {
      ++arrived;
      group->barrier();
      EXPECT_EQ(arrived.load(), round * W());
      group->barrier();
    }
  });
}

}  // namespace
}  // namespace moe::test
