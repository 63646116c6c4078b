#include <cmath>

#include <gtest/gtest.h>

#include <moe/train/compare.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

TEST(Compare, ConfidenceIntervalIsStudents) {
  // Mean 3, standard deviation sqrt(2.5), n = 5: 2.776 * sqrt(2.5 / 5).
  const auto interval = train::confidence_interval({1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_NEAR(interval.half_width, 2.7764451051977987 * std::sqrt(0.5), 1e-12);
  EXPECT_TRUE(std::isnan(train::confidence_interval({1}).half_width));
  // 12 seeds: t of 11 degrees is 2.201; values of deviation 1 around 0.
  std::vector<double> twelve(12);
  for (size_t i = 0; i < 12; ++i) twelve[i] = (i % 2 == 0 ? 1 : -1) * std::sqrt(11.0 / 12);
  EXPECT_NEAR(train::confidence_interval(twelve).half_width, 2.2009851600916384 / std::sqrt(12.0),
              1e-12);
  // One pair that was not measured leaves no mean.
  const auto unknown = train::confidence_interval({1, std::nan(""), 2});
  EXPECT_TRUE(std::isnan(unknown.mean) && std::isnan(unknown.half_width));
}

TEST(Compare, APairWithoutEvaluationsBetweenIsNotMeasuredAtEqualTime) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 4;
  options.train.eval_every = 0;
  const auto pair = train::compare_pair(options, folder / "pair", 1, {});
  EXPECT_TRUE(std::isnan(pair.equal_time_difference));
  EXPECT_EQ(pair.equal_steps_difference, pair.moe_best - pair.dense_best);
  for (auto& domain : options.data.domains) domain.valid = "";
  EXPECT_ERROR(train::compare_pair(options, folder / "other", 1, {}),
               "expected validation data to compare losses on, found none");
  EXPECT_FALSE(std::filesystem::exists(folder / "other"));
}

TEST(Compare, LossesBetweenEvaluationsAreInterpolated) {
  const std::vector<train::LossPoint> points = {{1, 10, 4}, {2, 20, 3}, {3, 40, 1}};
  for (const auto& [seconds, loss] :
       {std::pair{0.0, 4.0}, std::pair{10.0, 4.0}, std::pair{15.0, 3.5}, std::pair{20.0, 3.0},
        std::pair{30.0, 2.0}, std::pair{99.0, 1.0}})
    EXPECT_DOUBLE_EQ(train::loss_at(points, seconds), loss) << seconds;
}

TEST(Compare, EvaluationsAreLoggedWithTheTimeSpentBeforeThem) {
  const TemporaryFolder folder;
  train::Run run(tiny_run(folder.path()), folder.path() / "run");
  const auto begin = std::chrono::steady_clock::now();
  const auto summary = run.start();
  const double all =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto points = train::read_evaluations(folder.path() / "run" / "metrics.jsonl");
  ASSERT_EQ(points.size(), 3u);  // steps 5, 10 and 12
  double before = 0;
  for (const auto& point : points) {
    EXPECT_GT(point.seconds, before);
    before = point.seconds;
  }
  EXPECT_LE(before, summary.record.seconds);
  EXPECT_LE(summary.record.seconds, all);
}

}  // namespace
}  // namespace moe::test
