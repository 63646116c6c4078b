// Learning rate over steps, and what a resume with other steps makes of it.
#include <cmath>
#include <map>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <moe/config/toml.h>
#include <moe/train/schedule.h>

#include "tests/support/message_of.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

using train::learning_rate_share;
using train::ScheduleOptions;

TEST(Schedule, TheShareThatDecaysIsOfAllSteps) {
  const ScheduleOptions o{.kind = "wsd", .warmup = 50, .final_share = 0, .decay_share = 0.3};
  for (int64_t step = 50; step < 70; ++step)
    EXPECT_EQ(learning_rate_share(o, step, 100), 1) << step;
  // Step 71 as people count.
  for (int64_t step = 70; step < 100; ++step)
    EXPECT_NEAR(learning_rate_share(o, step, 100), 1 - (step / 99.0 - 0.7) / 0.3, 1e-12) << step;
  EXPECT_EQ(learning_rate_share(o, 99, 100), 0);
  // A decay as long as the warm-up leaves it, and none at all.
  const ScheduleOptions all{.kind = "wsd", .warmup = 50, .final_share = 0.5, .decay_share = 1};
  EXPECT_EQ(learning_rate_share(all, 50, 100), 1);
  EXPECT_NEAR(learning_rate_share(all, 60, 100), 1 - 0.5 * 10 / 49, 1e-12);
  EXPECT_EQ(learning_rate_share(all, 99, 100), 0.5);
  const ScheduleOptions none{.kind = "wsd", .warmup = 0, .final_share = 0, .decay_share = 0};
  EXPECT_EQ(learning_rate_share(none, 99, 100), 1);
}

TEST(Schedule, EveryShareIsBetweenTheFinalOneAndThePeakAndTheLastIsExact) {
  for (const char* kind : {"constant", "linear", "cosine", "wsd"})
    for (const double final_share : {0.0, 1e-9, 0.1, 0.3, 0.7, 1.0})
      for (const double decay_share : {0.0, 0.01, 0.3, 1.0})
        for (const int64_t warmup : {0, 1, 7, 50})
          for (const int64_t steps : {1, 2, 3, 10, 57, 100, 101}) {
            SCOPED_TRACE(concat(kind, ' ', final_share, ' ', decay_share, ' ', warmup, ' ', steps));
            const ScheduleOptions o{.kind = kind,
                                    .warmup = warmup,
                                    .final_share = final_share,
                                    .decay_share = decay_share};
            double before = 1;
            for (int64_t step = 0; step < steps + 5; ++step) {
              const double share = learning_rate_share(o, step, steps);
              EXPECT_GE(share, std::min(step, steps - 1) < warmup ? 0.0 : final_share);
              EXPECT_FALSE(std::signbit(share));
              EXPECT_LE(share, 1);
              if (step > warmup) {
                EXPECT_LE(share, before) << step;
              }
              before = share;
            }
            EXPECT_EQ(before, learning_rate_share(o, steps - 1, steps)) << "behind the end";
            const bool falls =
                std::string(kind) != "constant" && (std::string(kind) != "wsd" || decay_share > 0);
            if (falls && warmup < steps - 1) {
              EXPECT_EQ(before, final_share);
            }
          }
}

/// The logged learning rates of a run, by step.
std::map<int64_t, double> rates_of(const Path& run) {
  std::map<int64_t, double> out;
  for (const auto& line : metrics_without_times(run))
    if (line.contains("lr")) out[line["step"].get<int64_t>()] = line["lr"].get<double>();
  return out;
}

/// A run of 6 steps along a cosine that ends at a tenth, stopped in its end.
struct Cut {
  Cut() {
    options.train.steps = 6;
    options.train.optimizer.lr = 1e-3;
    train::Run(options, run).start();
  }
  /// Goes on to 12 steps.
  std::string resume() {
    options.train.steps = 12;
    testing::internal::CaptureStderr();
    train::Run(options, run).resume();
    return testing::internal::GetCapturedStderr();
  }

  TemporaryFolder folder;
  train::RunOptions options = tiny_run(folder.path());
  Path run = folder / "run";
};

TEST(MoreSteps, MoveTheLearningRateWithAWord) {
  Cut cut;
  EXPECT_DOUBLE_EQ(rates_of(cut.run)[6], 1e-4);
  const std::string log = cut.resume();
  EXPECT_PRED2(contains, log,
               "warning: the learning rate now follows a cosine schedule of 12 steps instead of 6: "
               "step 7 has ");
  EXPECT_PRED2(contains, log, " instead of 0.0001. train.schedule.keep = true keeps the old curve");
  const double expected = 1e-3 * learning_rate_share({.warmup = 3}, 6, 12);
  EXPECT_DOUBLE_EQ(rates_of(cut.run)[7], expected);
  EXPECT_GT(expected, 5e-4);
  // A second resume of the same run has nothing to say.
  testing::internal::CaptureStderr();
  train::Run(cut.options, cut.run).resume();
  EXPECT_EQ(testing::internal::GetCapturedStderr().find("schedule"), std::string::npos);
}

TEST(MoreSteps, WithKeepFollowTheOldCurveAndThenItsEnd) {
  Cut cut;
  const auto before = rates_of(cut.run);
  cut.options.train.schedule.keep = true;
  const std::string log = cut.resume();
  EXPECT_PRED2(contains, log,
               "the learning rate keeps its cosine schedule of 6 steps and stays at 0.0001");
  for (const auto& [step, rate] : rates_of(cut.run))
    EXPECT_EQ(rate, step <= 6 ? before.at(step) : before.at(6)) << step;
  // The configuration says so, and still does when the run goes on once more.
  auto again = train::Run::from_toml(cut.run / "config.toml", {"train.steps=14"}, cut.run);
  EXPECT_EQ(again.options().train.schedule.steps, 6);
  again.resume();
  EXPECT_EQ(rates_of(cut.run)[14], before.at(6));
}

/// The remedies of the warning, applied.
TEST(MoreSteps, ARunThatHasGoneOnGoesBackToTheOldCurve) {
  Cut cut;
  const auto before = rates_of(cut.run);
  cut.options.train.steps = 12;
  train::Run(cut.options, cut.run).resume({.max_steps = 8});
  EXPECT_GT(rates_of(cut.run)[8], before.at(6));
  cut.options.train.schedule.steps = 6;
  train::Run(cut.options, cut.run).resume();
  EXPECT_EQ(rates_of(cut.run)[9], before.at(6));
  EXPECT_EQ(rates_of(cut.run)[12], before.at(6));
}

TEST(MoreSteps, GiveTheSameParametersWithKeepAsWithoutAStop) {
  at::set_num_threads(2);
  Cut cut;
  auto whole = cut.options;
  whole.train.steps = 12;
  whole.train.schedule.steps = 6;
  train::Run(whole, cut.folder / "whole").start();
  cut.options.train.schedule.keep = true;
  cut.resume();
  EXPECT_EQ(tensor_files(cut.run), tensor_files(cut.folder / "whole"));
}

TEST(MoreSteps, SayNothingWhereNothingMoves) {
  for (const char* kind : {"constant", "wsd"}) {
    SCOPED_TRACE(kind);
    Cut cut;
    cut.options = tiny_run(cut.folder.path());
    cut.options.train.steps = 6;
    cut.options.train.schedule.kind = kind;
    cut.options.train.schedule.decay_share = 0;
    cut.run = cut.folder / kind;
    train::Run(cut.options, cut.run).start();
    EXPECT_EQ(cut.resume().find("schedule"), std::string::npos);
  }
}

TEST(MoreSteps, NameTheRateThatStaysAndTheOnesThatDoNot) {
  // In the stable part of wsd the next rate is the same, and the decay begins later.
  train::TrainOptions then, now;
  then.schedule = now.schedule = {.kind = "wsd", .warmup = 0, .decay_share = 0.5};
  then.steps = 100;
  now.steps = 200;
  EXPECT_PRED2(contains, train::schedule_change(then, now, 10),
               "step 11 has 0.001, as it would have had, and later ones differ");
  EXPECT_EQ(train::schedule_change(then, then, 10), "");
  now.steps = 50;  // fewer are told as well
  EXPECT_PRED2(contains, train::schedule_change(then, now, 30),
               "schedule of 50 steps instead of 100: step 31 has ");
  EXPECT_EQ(train::schedule_change(then, now, 50), "");  // nothing is left to train
}

TEST(MoreSteps, RefuseTwoLengthsOfTheOldCurve) {
  Cut cut;
  cut.options.train.schedule.keep = true;
  cut.options.train.schedule.steps = 7;
  EXPECT_ERROR(train::Run(cut.options, cut.run).resume(),
               "expected train.schedule.steps = 0 or the run's 6 beside train.schedule.keep");
}

}  // namespace
}  // namespace moe::test
