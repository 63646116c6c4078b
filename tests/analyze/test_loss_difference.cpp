#include <cmath>

#include <gtest/gtest.h>

#include <moe/analyze/loss_difference.h>

namespace moe::analyze {
namespace {

using Points = std::vector<LossPoint>;

TEST(LossDifference, AtEqualStepsIsOfTheBestAmongStepsThatBothHave) {
  const Points ours = {{10, 1, 4}, {20, 2, 2}, {30, 3, 3}};
  EXPECT_EQ(difference_at_equal_steps(ours, {{10, 1, 3}, {20, 2, 2.5}, {30, 3, 2.25}}), 2 - 2.25);
  // Theirs ended early, at step 10.
  EXPECT_EQ(difference_at_equal_steps(ours, {{10, 9, 3.5}}), 0.5);
  EXPECT_EQ(difference_at_equal_steps({{10, 9, 3.5}}, ours), -0.5);
  EXPECT_TRUE(std::isnan(difference_at_equal_steps(ours, {{15, 1, 3}})));
  EXPECT_TRUE(std::isnan(difference_at_equal_steps(ours, {})));
}

TEST(LossDifference, AtEqualTimeIsBetweenTheSlowerOnesEvaluations) {
  const Points fast = {{10, 10, 4}, {20, 20, 3}}, slow = {{10, 15, 3.5}, {20, 35, 1.5}};
  // After 20 seconds: 3, and a quarter of the way from 3.5 to 1.5.
  EXPECT_DOUBLE_EQ(difference_at_equal_time(fast, slow), 3 - 3.0);
  EXPECT_DOUBLE_EQ(difference_at_equal_time({{10, 10, 4}, {20, 19, 3}}, slow), 3 - 3.1);
  EXPECT_DOUBLE_EQ(difference_at_equal_time(slow, {{10, 10, 4}, {20, 19, 3}}), 3.1 - 3);
  // At the very time of an evaluation.
  EXPECT_DOUBLE_EQ(difference_at_equal_time({{10, 10, 4}, {20, 15, 3}}, slow), 3 - 3.5);
}

TEST(LossDifference, AtEqualTimeIsNotMeasuredWithoutAnEvaluationBefore) {
  // A single evaluation at the end of each, as train.eval_every = 0 makes it.
  EXPECT_TRUE(std::isnan(difference_at_equal_time({{20, 20, 3}}, {{20, 21, 2}})));
  EXPECT_TRUE(std::isnan(difference_at_equal_time({{20, 21, 2}}, {{20, 20, 3}})));
  // The slower one's first comes too late.
  EXPECT_TRUE(std::isnan(
      difference_at_equal_time({{10, 10, 4}, {20, 20, 3}}, {{10, 21, 3.5}, {20, 40, 1}})));
  // Times that were not logged.
  EXPECT_TRUE(std::isnan(difference_at_equal_time({{10, kNotLogged, 4}, {20, kNotLogged, 3}},
                                                  {{10, 10, 4}, {20, 20, 3}})));
  EXPECT_TRUE(std::isnan(difference_at_equal_time({{10, 10, 4}, {20, 20, 3}},
                                                  {{10, kNotLogged, 4}, {20, kNotLogged, 3}})));
  EXPECT_TRUE(std::isnan(difference_at_equal_time({}, {{20, 21, 2}})));
}

}  // namespace
}  // namespace moe::analyze
