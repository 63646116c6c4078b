#include <cmath>

#include <gtest/gtest.h>

#include <moe/train/compare.h>

#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

TEST(Compare, ConfidenceIntervalIsStudents) {
  // Mean 3, standard deviation sqrt(2.5), n = 5: 2.776 * sqrt(2.5 / 5).
  const auto interval = train::confidence_interval({1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_NEAR(interval.half_width, 2.776 * std::sqrt(0.5), 1e-12);
  EXPECT_TRUE(std::isnan(train::confidence_interval({1}).half_width));
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
