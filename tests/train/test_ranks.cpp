// The whole trainer on several ranks, which are threads, against one: every rank has its share of
// the experts.
#include <filesystem>

#include <moe/train/optimizer.h>

#include "tests/support/message_of.h"
#include "tests/train/rank_runs.h"

namespace moe::test {
namespace {

using Group = std::shared_ptr<parallel::Communicator>;

class Ranks : public testing::TestWithParam<std::string> {
 protected:
  Path path(const std::string& name) const { return folder_.path() / name; }
  TemporaryFolder folder_;
};

TEST_P(Ranks, TrainAsOneDoes) {
  const auto options = run_of_ranks(folder_.path(), GetParam());
  start_on(1, options, path("1"));
  const auto lines = metric_lines(path("1"));
  double dropped = 0, clipped = 0;
  for (const auto& line : lines)
    if (!line.contains("eval")) {
      dropped += line["layers"][0]["dropped"].get<double>();
      clipped += line["grad_norm"].get<double>() > 0.1;
    }
  ASSERT_GT(dropped, 0) << "capacity did nothing";
  ASSERT_GT(clipped, 10) << "clipping did nothing";
  for (const int64_t ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    start_on(ranks, options, path(std::to_string(ranks)));
    expect_same_run(path(std::to_string(ranks)), path("1"));
  }
}

TEST_P(Ranks, GoOnFromACheckpointOfAnotherNumber) {
  const auto options = run_of_ranks(folder_.path(), GetParam());
  start_on(1, options, path("whole"));
  start_on(2, options, path("two"), 10);
  for (const int64_t ranks : {1, 4}) {
    SCOPED_TRACE(ranks);
    const Path copy = path("on" + std::to_string(ranks));
    std::filesystem::copy(path("two"), copy, std::filesystem::copy_options::recursive);
    resume_on(ranks, options, copy);
    expect_same_run(copy, path("whole"));
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, Ranks, testing::ValuesIn(train::optimizers().names()));

TEST(RankZero, AloneLogsAndSpeaks) {
  const TemporaryFolder folder;
  auto options = run_of_ranks(folder.path(), "adamw");
  options.train.steps = 4;
  options.train.eval_every = 2;
  options.train.tensorboard.enabled = true;
  options.train.optimizer.groups = {{.match = "embedding", .frozen = true}};
  testing::internal::CaptureStderr();
  parallel::run_ranks(4, [&](const Group& group) {
    train::Run run(options, folder.path() / "run");
    train::RunControls controls;
    controls.group = group;
    const auto summary = run.start(controls);
    EXPECT_EQ(summary.record.step, 4);
    EXPECT_EQ(summary.metrics.empty(), group->rank() > 0);
  });
  const std::string said = testing::internal::GetCapturedStderr();
  const auto count = [&](const std::string& text) {
    int64_t found = 0;
    for (size_t at = said.find(text); at != std::string::npos; at = said.find(text, at + 1))
      ++found;
    return found;
  };
  EXPECT_EQ(count("validation loss"), 2) << said;
  EXPECT_EQ(count("the others are frozen"), 1) << said;
  int64_t steps = 0;
  for (const auto& line : metric_lines(folder.path() / "run")) steps += !line.contains("eval");
  EXPECT_EQ(steps, 4) << "lines of rank 0 alone";
}

TEST(RankZero, DecidesWhenAllStop) {
  const TemporaryFolder folder;
  const auto options = run_of_ranks(folder.path(), "adamw");
  int asked = 0;
  const auto summary = on_ranks(2, options, folder.path() / "run",
                                [&](train::Run& run, train::RunControls controls) {
                                  if (controls.group->rank() == 0)
                                    controls.stop = [&] { return ++asked == 3 ? 15 : 0; };
                                  return run.start(controls);
                                });
  EXPECT_EQ(summary.stopped_by, 15);
  EXPECT_EQ(summary.record.step, 3);
}

TEST(RankZero, RollsAllBack) {
  const TemporaryFolder folder;
  auto options = run_of_ranks(folder.path(), "adamw");
  options.train.on_nan = "rollback";
  options.train.max_bad_steps = 2;
  options.train.checkpoint_every = 1;
  options.train.optimizer.lr = 1e300;
  options.train.optimizer.clip = 0;
  options.train.schedule.warmup = 0;
  EXPECT_ERROR(start_on(2, options, folder.path() / "run"), "expected finite numbers, found loss");
}

}  // namespace
}  // namespace moe::test
