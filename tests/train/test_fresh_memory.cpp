// Training steps of the real trainer touch no fresh memory once they are warm.
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <moe/base/memory.h>
#include <moe/train/run.h>

#include "tests/support/page_faults.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

TEST(Trainer, StepsTouchNoFreshPages) {
  if (const char* reason = no_page_faults_here()) GTEST_SKIP() << reason;
  keep_freed_memory();
  for (const char* dtype : {"float32", "bfloat16"}) {
    SCOPED_TRACE(dtype);
    const TemporaryFolder folder;
    auto options = tiny_run(folder.path(), dtype);
    options.data.sequence = 64;
    change_model(options, [](auto& model) {
      model.context_length = 64;
      model.d_model = 64;
      model.uniform.moe.num_experts = 32;
      model.uniform.moe.expert.d_ff = 96;
    });
    options.train.steps = 30;
    options.train.batch = 8;
    options.train.eval_every = 0;
    options.train.checkpoint_every = 0;
    options.train.log_every = 1000;
    std::vector<int64_t> faults;
    train::RunControls controls;
    controls.stop = [&] {
      faults.push_back(page_faults());
      return 0;
    };
    train::Run(options, folder.path() / "run").start(controls);
    ASSERT_EQ(faults.size(), 30u);
    constexpr size_t kWarm = 10;
    const auto steps = static_cast<int64_t>(faults.size() - kWarm);
    EXPECT_GE(faults[0], 1000) << "the first step touches its memory, so the count works";
    EXPECT_LE(faults.back() - faults[kWarm - 1], 64 * steps);
  }
}

}  // namespace
}  // namespace moe::test
