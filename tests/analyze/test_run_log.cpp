#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include <moe/analyze/run_log.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test {
namespace {

analyze::RunLog log_of(const std::string& text) {
  const TemporaryFolder folder;
  std::ofstream(folder / "metrics.jsonl") << text;
  return analyze::read_run_log(folder / "metrics.jsonl");
}

TEST(RunLog, ReadsStepsAndEvaluations) {
  const auto log = log_of(
      R"({"step": 5, "tokens": 80, "loss": 2.5, "lm_loss": 2.25, "balance": {"switch": 1.5}, )"
      R"("grad_norm": 3, "lr": 0.001, "tokens_per_second": 40.5, "seconds": 2, "layers": )"
      R"([{"layer": 1, "load": [0.75, 0.25], "max_over_mean": 1.5, "entropy": 0.8, )"
      R"("dropped": 4, "unused": 0}]})"
      "\n"
      R"({"step": 5, "eval": {"loss": 2.125, "perplexity": 8.4, "domains": {"a": 2, "b": null}}, )"
      R"("seconds": 2.5})"
      "\n");
  ASSERT_EQ(log.steps.size(), 1u);
  const auto& step = log.steps[0];
  EXPECT_EQ(step.step, 5);
  EXPECT_EQ(step.tokens, 80);
  EXPECT_EQ(step.task_loss, 2.25);
  EXPECT_EQ(step.seconds, 2);
  ASSERT_EQ(step.balance.size(), 1u);
  EXPECT_EQ(step.balance[0].first, "switch");
  ASSERT_EQ(step.layers.size(), 1u);
  EXPECT_EQ(step.layers[0].layer, 1);
  EXPECT_EQ(step.layers[0].load_E, (std::vector<double>{0.75, 0.25}));
  EXPECT_EQ(step.layers[0].dropped, 4);
  ASSERT_EQ(log.evaluations.size(), 1u);
  EXPECT_EQ(log.evaluations[0].loss, 2.125);
  EXPECT_EQ(log.evaluations[0].seconds, 2.5);
  EXPECT_TRUE(std::isnan(log.evaluations[0].domains[1].second));
  EXPECT_EQ(log.skipped, 0);
  EXPECT_EQ(log.last_step(), 5);
}

TEST(RunLog, NumbersThatWereNotFiniteAndFieldsThatAreNotThereAreNaN) {
  const auto log = log_of(R"({"step": 1, "loss": null, "lr": "high"})"
                          "\n");
  ASSERT_EQ(log.steps.size(), 1u);
  EXPECT_TRUE(std::isnan(log.steps[0].loss));
  EXPECT_TRUE(std::isnan(log.steps[0].lr));
  EXPECT_TRUE(std::isnan(log.steps[0].seconds));
  EXPECT_TRUE(log.steps[0].layers.empty());
}

TEST(RunLog, SkipsWhatIsNoLineOfALog) {
  const auto log = log_of(
      "{\"step\": 2}\nnot json\n[1]\n{\"step\": \"x\"}\n{\"step\": 2}\n{\"step\": 3, \"eval\": 4}\n"
      "{\"step\": 3}\n{\"step\": 4, \"lo");
  EXPECT_EQ(log.steps.size(), 2u);
  EXPECT_EQ(log.skipped, 5);  // the torn last line is no damage
  EXPECT_TRUE(log_of("").empty());
}

TEST(RunLog, SaysWhichFileIsMissing) {
  EXPECT_ERROR(analyze::read_run_log("/nowhere/metrics.jsonl"), "/nowhere/metrics.jsonl");
}

}  // namespace
}  // namespace moe::test
