// A training step of a large vocabulary never holds all logits.
#include <gtest/gtest.h>

#include "tests/support/peak_memory.h"
#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

TEST(LargeVocabulary, AStepKeepsNoLogitsOfAllTokens) {
  for (const bool tied : {false, true}) {
    SCOPED_TRACE(tied ? "tied" : "head of its own");
    const TemporaryFolder folder;
    auto options = tiny_run(folder.path());
    options.data.sequence = 64;
    options.train.batch = 32;
    change_model(options, [&](auto& model) {
      model.vocabulary = 128000;
      model.context_length = 64;
      model.tied_embeddings = tied;
    });
    Bench bench(options);
    const auto optimizer = train::make_optimizer(bench.parameters, {});
    const auto step = [&](int64_t number) {
      const auto result = bench.run(number, 1);
      optimizer->step(1e-3, number);
      optimizer->zero_gradients();
      return result.loss;
    };
    if (!forget_peak()) GTEST_SKIP() << "this system does not let a process reset its peak";
    const int64_t before = peak_memory();
    const double first = step(0);
    // 2,048 tokens x 128,000 logits in float32 are 1.05 GB, and their gradient as much.
    EXPECT_LT(peak_memory() - before, int64_t{600} << 20);
    EXPECT_LT(step(0), first) << "the same batch again";
  }
}

}  // namespace
}  // namespace moe::test
