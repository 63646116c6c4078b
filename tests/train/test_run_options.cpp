// What a run's options may be together.
#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

TEST(RunOptions, ARunOfMoreTokensThanCanBeNumberedIsRefused) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  const auto message = [&] { return message_of([&] { train::Run(options, folder / "run"); }); };
  options.train.steps = int64_t{1} << 40;
  options.train.batch = int64_t{1} << 14;
  options.train.accumulation = 2;
  EXPECT_EQ(message(), "");  // 2^59 tokens, in rows of 16
  options.train.accumulation = 4;
  EXPECT_EQ(message(), "");
  options.train.accumulation = 8;
  EXPECT_PRED2(contains, message(), "a run of at most 2^60 tokens, got train.steps=1099511627776");
  options.train.batch = int64_t{1} << 20;
  options.train.accumulation = int64_t{1} << 18;
  options.data.sequence = int64_t{1} << 24;
  EXPECT_PRED2(contains, message(), "at most 2^60 tokens");  // 2^102 of them
}

}  // namespace
}  // namespace moe::test
