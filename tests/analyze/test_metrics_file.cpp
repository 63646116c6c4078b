#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include <moe/analyze/metric_summary.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::analyze {
namespace {

constexpr const char* kStep =
    R"({"step":10,"tokens":640,"loss":3.5,"lm_loss":3.25,"balance":{"switch":1.5},"grad_norm":null,)"
    R"("lr":0.001,"tokens_per_second":900.5,"layers":[)"
    R"({"layer":1,"load":[0.25,0.75],"max_over_mean":1.5,"entropy":0.8,"dropped":0.0,"unused":0},)"
    R"({"layer":3,"load":[0.5,0.5],"max_over_mean":1.0,"entropy":1.0,"dropped":2.0,"unused":0}]})";
constexpr const char* kEvaluation =
    R"({"step":10,"eval":{"loss":3.0,"perplexity":20.0,"domains":{"english":2.5,"code":null}},)"
    R"("seconds":12.5})";

class MetricsFile : public ::testing::Test {
 protected:
  Path write(const std::string& text) {
    std::ofstream(folder_ / "metrics.jsonl", std::ios::binary) << text;
    return folder_ / "metrics.jsonl";
  }
  /// The steps of the lines, negative for evaluations.
  std::vector<int64_t> steps(const Path& path, DamagedLines damaged = DamagedLines::kRefuse) {
    std::vector<int64_t> out;
    read_metrics(
        path,
        [&](const MetricsLine& line, std::string_view) {
          out.push_back(line.is_evaluation ? -line.step : line.step);
        },
        damaged);
    return out;
  }
  test::TemporaryFolder folder_;
};

TEST_F(MetricsFile, NamesEveryNumber) {
  const auto step = parse_metrics_line(kStep, "the line");
  EXPECT_EQ(step.step, 10);
  EXPECT_FALSE(step.is_evaluation);
  EXPECT_EQ(step.find("loss"), 3.5);
  EXPECT_EQ(step.find("balance.switch"), 1.5);
  EXPECT_EQ(step.find("layers.3.dropped"), 2.0);
  EXPECT_EQ(step.find("layers.1.entropy"), 0.8);
  EXPECT_TRUE(std::isnan(*step.find("grad_norm")));
  EXPECT_FALSE(step.find("step").has_value());
  EXPECT_FALSE(step.find("layers.1.load").has_value());
  ASSERT_EQ(step.loads.size(), 2u);
  EXPECT_EQ(step.loads[1].first, 3);
  EXPECT_EQ(step.loads[0].second, (std::vector<double>{0.25, 0.75}));

  const auto evaluation = parse_metrics_line(kEvaluation, "the line");
  EXPECT_TRUE(evaluation.is_evaluation);
  EXPECT_EQ(evaluation.find("eval.domains.english"), 2.5);
  EXPECT_TRUE(std::isnan(*evaluation.find("eval.domains.code")));
  EXPECT_EQ(evaluation.find("seconds"), 12.5);
}

TEST_F(MetricsFile, HandsOnLinesAndPassesOverATornLastOne) {
  const std::string lines = std::string(kStep) + '\n' + kEvaluation + '\n';
  EXPECT_EQ(steps(write(lines)), (std::vector<int64_t>{10, -10}));
  EXPECT_EQ(steps(write(lines + R"({"step":11,"lo)")), (std::vector<int64_t>{10, -10}));
  EXPECT_EQ(steps(write("")), (std::vector<int64_t>{}));
  // More than one piece of reading.
  std::string many;
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 40000; ++i) {
    many += concat(R"({"step":)", i + 1, R"(,"loss":1.0,"text":"any"})", '\n');
    expected.push_back(i + 1);
  }
  EXPECT_EQ(steps(write(many)), expected);
}

TEST_F(MetricsFile, RefusesDamageOrTakesItForTheEnd) {
  const std::string good = std::string(kStep) + '\n';
  for (const std::string bad :
       {"{\"step\":", "[1]", "", "{\"loss\":1}", "{\"step\":1.5}", "{\"step\":1,\"step\":2}",
        "{\"step\":1,\"layers\":[3]}", "{\"step\":1,\"layers\":[{\"layer\":0,\"load\":[\"x\"]}]}",
        "{\"step\":1,\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}}}"}) {
    const Path path = write(good + bad + '\n' + good);
    EXPECT_ERROR(steps(path), "line 2 of");
    EXPECT_EQ(steps(path, DamagedLines::kEnd), (std::vector<int64_t>{10})) << bad;
  }
  EXPECT_ERROR(steps(folder_ / "none.jsonl"), "none.jsonl");
}

TEST_F(MetricsFile, SummaryHasEveryMetric) {
  std::string lines;
  std::vector<double> losses = {4, 3, 2.5, 1};
  for (size_t i = 0; i < losses.size(); ++i)
    lines +=
        concat(R"({"step":)", i + 1, R"(,"loss":)", losses[i],
               R"(,"layers":[{"layer":0,"entropy":0.5},{"layer":2,"entropy":1.0}],"grad_norm":)",
               i == 1 ? "null" : "2.0", "}\n");
  const auto summary = summarise_metrics(write(lines));
  const Moments& loss = *summary.find("loss");
  EXPECT_EQ(loss.count(), 4);
  EXPECT_DOUBLE_EQ(loss.mean(), 10.5 / 4);
  EXPECT_EQ(loss.min(), 1);
  EXPECT_EQ(loss.max(), 4);
  EXPECT_EQ(loss.last(), 1);
  EXPECT_EQ(summary.find("grad_norm")->not_finite(), 1);
  EXPECT_EQ(summary.find("nothing"), nullptr);
  EXPECT_EQ(summary.metrics().front().first, "grad_norm");

  const std::string table = summary_table(summary);
  EXPECT_PRED2(test::contains, table,
               "layers.*.entropy          8       0.75    0.26726        0.5          1\n");
  EXPECT_PRED2(test::contains, table, "grad_norm            3+1nan          2");
  EXPECT_EQ(summary_table({}), "");
  // A single value spreads by nothing that is known.
  MetricSummary one;
  one.add("loss", 2);
  EXPECT_PRED2(test::contains, summary_table(one),
               "loss            1          2          -          2          2          2");
}

TEST(Moments, MergeAsIfOneSawAll) {
  const std::vector<double> values = {3, -1, 4, 1, 5, -9, 2, 6};
  Moments all;
  for (const double value : values) all.add(value);
  for (size_t cut = 0; cut <= values.size(); ++cut) {
    Moments first, second;
    for (size_t i = 0; i < values.size(); ++i) (i < cut ? first : second).add(values[i]);
    first.merge(second);
    EXPECT_EQ(first.count(), 8);
    EXPECT_NEAR(first.mean(), all.mean(), 1e-12);
    EXPECT_NEAR(first.deviation(), all.deviation(), 1e-12);
    EXPECT_EQ(first.min(), -9);
    EXPECT_EQ(first.max(), 6);
    EXPECT_EQ(first.last(), 6);
  }
}

}  // namespace
}  // namespace moe::analyze
