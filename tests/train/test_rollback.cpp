// What a run does about steps that are not finite, with and without interruptions.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

/// 12 steps with a scheduled checkpoint each 4, and others at better losses. Batch 6 and, after
/// the rollback to step 4, batch 12 in step 10 fail.
train::RunOptions failing_run(const Path& folder) {
  auto options = tiny_run(folder);
  fail_on(options, {6, 12});
  options.train.on_nan = "rollback";
  options.train.keep_best = true;
  options.train.keep = 1;
  return options;
}

int64_t rollbacks_in(const std::string& log) {
  int64_t out = 0;
  for (size_t at = 0; (at = log.find("rollbacks", at)) != std::string::npos; ++at) ++out;
  return out;
}

TEST(Rollback, GoesToTheLastCheckpointOfTheScheduleAndOnWithOtherBatches) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  auto options = failing_run(folder.path());
  options.train.monitor.every = 1;
  testing::internal::CaptureStderr();
  const auto summary = train::Run(options, folder / "run").start();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(summary.record.step, 12);
  // From step 6 (batch 6) to 4 and on with batch 7: 3 batches passed over. From step 9 (batch 12)
  // to 8 and on with 13: 5.
  EXPECT_EQ(summary.record.data_shift, 5) << log;
  EXPECT_EQ(rollbacks_in(log), 2) << log;
  EXPECT_PRED2(contains, log, "in step 7, to step 4, and on with other batches");
  EXPECT_PRED2(contains, log, "in step 10, to step 8, and on with other batches");
}

/// Whatever a run was stopped at, before, behind and between the steps that fail, and with
/// evaluations beside the scheduled checkpoints and in the same steps.
class RollbackAndEvaluation : public testing::TestWithParam<int64_t> {};

TEST_P(RollbackAndEvaluation, AnInterruptionChangesNothing) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  auto options = failing_run(folder.path());
  options.train.eval_every = GetParam();
  const auto whole = train::Run(options, folder / "whole").start();
  const auto files = tensor_files(folder / "whole");
  const auto metrics = metrics_without_times(folder / "whole");
  for (const std::string how : {"limit", "signal", "crash"})
    for (const int at : {2, 4, 5, 6, 7, 8, 10, 13}) {
      SCOPED_TRACE(concat(how, ' ', at));
      const Path run = folder / concat(how, '-', at);
      train::Run cut(options, run);
      int asked = 0;
      if (how == "signal")
        cut.start({.stop = [&] { return ++asked == at ? 15 : 0; }});
      else if (how == "limit")
        cut.start({.max_steps = at});
      else  // nothing more is written
        EXPECT_THROW(cut.start({.stop = [&]() -> int {
          if (++asked == at) throw std::runtime_error("killed");
          return 0;
        }}),
                     std::runtime_error);
      const auto resumed = cut.resume_or_start();
      EXPECT_EQ(resumed.record.data_shift, whole.record.data_shift);
      EXPECT_EQ(resumed.record.best_step, whole.record.best_step);
      EXPECT_EQ(resumed.record.tokens, whole.record.tokens);
      EXPECT_EQ(tensor_files(run), files);
      EXPECT_EQ(metrics_without_times(run), metrics);
      std::filesystem::remove_all(run);
    }
}
INSTANTIATE_TEST_SUITE_P(Every, RollbackAndEvaluation, testing::Values(5, 4));

/// Stopped after every single step.
TEST(Rollback, ManyInterruptionsChangeNothing) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  const auto options = failing_run(folder.path());
  train::Run(options, folder / "whole").start();
  train::Run cut(options, folder / "cut");
  cut.start({.stop = [] { return 15; }});
  int64_t calls = 1;
  for (; cut.resume({.stop = [] { return 15; }}).record.step < 12; ++calls) ASSERT_LT(calls, 40);
  cut.resume();
  EXPECT_EQ(tensor_files(folder / "cut"), tensor_files(folder / "whole"));
  EXPECT_EQ(metrics_without_times(folder / "cut"), metrics_without_times(folder / "whole"));
}

TEST(Rollback, KeepsItsTargetAndForgetsWhatLiesBehindIt) {
  const TemporaryFolder folder;
  const auto options = failing_run(folder.path());
  train::Run run(options, folder / "run");
  run.start({.max_steps = 6});  // 6 is the newest, 5 was the best: 4 is where a rollback goes
  EXPECT_EQ(checkpoints_of(folder / "run"),
            (std::set<std::string>{"step-000004", "step-000005", "step-000006"}));
  int asked = 0;
  run.resume({.stop = [&] { return ++asked == 1 ? 15 : 0; }});  // the step that fails
  EXPECT_EQ(checkpoints_of(folder / "run"), (std::set<std::string>{"step-000004"}));
}

TEST(Rollback, SkipsWhereNoScheduledCheckpointIsYet) {
  const TemporaryFolder folder;
  auto options = failing_run(folder.path());
  options.train.checkpoint_every = 0;
  const auto whole = train::Run(options, folder / "whole").start();
  EXPECT_EQ(whole.record.step, 12);
  EXPECT_EQ(whole.record.data_shift, 0);
  train::Run cut(options, folder / "cut");
  cut.start({.max_steps = 5});
  cut.resume();
  EXPECT_EQ(tensor_files(folder / "cut"), tensor_files(folder / "whole"));
}

TEST(BadSteps, AreGivenUpAtTheirNumber) {
  for (const int64_t most : {0, 1, 2, 3}) {
    SCOPED_TRACE(most);
    const TemporaryFolder folder;
    auto options = tiny_run(folder.path());
    fail_on(options, {5, 6});
    options.train.max_bad_steps = most;
    const auto run = [&] { return train::Run(options, folder / "run").start(); };
    if (most == 3)
      EXPECT_EQ(run().record.step, 12);
    else
      EXPECT_ERROR(run(), concat("(", std::max<int64_t>(1, most), " such steps in a row)"));
  }
}

/// What the message says can be done is done.
TEST(BadSteps, TheRemediesOfGivingUpAreAccepted) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  fail_on(options, {5, 6});
  const auto whole = [&](const char* name) {
    train::Run(options, folder / name).start();
    return tensor_files(folder / name);
  };
  const auto skipped = whole("skip");
  options.train.on_nan = "rollback";
  const auto rolled_back = whole("rollback");

  options.train.on_nan = "stop";
  for (const char* name : {"a", "b"})
    EXPECT_ERROR(train::Run(options, folder / name).start(),
                 "or resume with train.on_nan = \"skip\".");
  options.train.on_nan = "skip";
  train::Run(options, folder / "a").resume();
  EXPECT_EQ(tensor_files(folder / "a"), skipped);
  options.train.on_nan = "rollback";
  train::Run(options, folder / "b").resume();
  EXPECT_EQ(tensor_files(folder / "b"), rolled_back);

  options.train.on_nan = "skip";
  options.train.max_bad_steps = 2;
  EXPECT_ERROR(train::Run(options, folder / "c").start(),
               "or resume with a larger train.max_bad_steps.");
  options.train.max_bad_steps = 3;
  train::Run(options, folder / "c").resume();
  EXPECT_EQ(tensor_files(folder / "c"), skipped);

  // Without a checkpoint there is nothing to resume.
  options.train.checkpoint_every = 0;
  options.train.on_nan = "stop";
  const std::string message = message_of([&] { train::Run(options, folder / "d").start(); });
  EXPECT_PRED2(contains, message, "Start anew with a lower train.optimizer.lr");
  EXPECT_FALSE(contains(message, "resume")) << message;
  options.train.optimizer.lr /= 10;
  options.train.on_nan = "skip";
  EXPECT_EQ(train::Run(options, folder / "e").start().record.step, 12);
}

TEST(BadSteps, ManySkippedOnesAreOneLineAPeriod) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  fail_on(options, {2, 4, 6, 8, 10});
  testing::internal::CaptureStderr();
  train::Run(options, folder / "run").start();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_PRED2(contains, log,
               "warning: step 3: steps skipped, whose loss or gradient was not "
               "finite: 1, the last with loss nan");
  EXPECT_PRED2(contains, log,
               "warning: steps 5 to 11: steps skipped, whose loss or gradient was "
               "not finite: 4, the last with loss nan and gradient norm nan in "
               "step 11.");
}

}  // namespace
}  // namespace moe::test
