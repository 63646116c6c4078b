// Whole pages: gathered from runs that ran for a few steps, and rendered from made-up data.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <regex>

#include <gtest/gtest.h>

#include <moe/models/twin.h>
#include <moe/train/compare.h>
#include <report/gather.h>
#include <report/html.h>
#include <report/render.h>
#include <report/write.h>

#include "tests/report/report_fixture.h"
#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

size_t times(const std::string& text, const std::string& part) {
  size_t out = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++out;
  return out;
}

/// What every page must be, whatever it shows.
void expect_whole(const std::string& page) {
  EXPECT_EQ(page.find("<!doctype html>"), 0u);
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const char* tag : {"script", "style", "svg", "table", "figure", "section", "div", "details"})
    EXPECT_EQ(times(page, concat("<", tag, " ")) + times(page, concat("<", tag, ">")),
              times(page, concat("</", tag, ">")))
        << tag;
  for (const char* bad :
       {"\"nan", " nan", "-nan", ">nan", "=\"inf", "src=\"http", "href=\"http", "url(", "@import"})
    EXPECT_EQ(page.find(bad), std::string::npos) << bad;
  EXPECT_LT(page.size(), 2u << 20);
}

class TinyPage : public ::testing::Test {
  TemporaryFolder folder_;  // made before and removed after what follows

 protected:
  train::RunOptions options = tiny_run(folder_.path());
  Path run = folder_.path() / "run";

  void train(int64_t max_steps = -1) const {
    train::Run(options, run).start({.max_steps = max_steps});
  }
  report::ReportData data() const { return report::gather(run, {.permutations = 50}); }
};

TEST_F(TinyPage, HoldsWhatTheRunDid) {
  train();
  const auto found = data();
  EXPECT_EQ(found.title, "run");
  EXPECT_EQ(found.notes, std::vector<std::string>());
  EXPECT_EQ(found.run.log.steps.size(), 12u);
  EXPECT_EQ(found.run.log.evaluations.size(), 3u);
  EXPECT_EQ(found.run.planned_steps, 12);
  EXPECT_EQ(found.run.tokens(), 12 * 4 * 2 * 16);
  EXPECT_EQ(found.run.moe_layers(), 2);
  EXPECT_EQ(found.run.domains, (std::vector<std::string>{"english", "arithmetic"}));
  EXPECT_GT(found.run.seconds(), 0);
  ASSERT_TRUE(found.run.counts);
  ASSERT_TRUE(found.study);
  EXPECT_EQ(found.study->step, 12);
  EXPECT_EQ(found.study->specialisation.domains, found.run.domains);
  EXPECT_EQ(found.study->specialisation.layers.size(), 2u);
  EXPECT_EQ(found.study->statistics.layers.size(), 2u);
  ASSERT_EQ(found.study->passages.size(), 4u);  // two rows of each domain
  const auto& passage = found.study->passages[0];
  EXPECT_EQ(passage.text_T.size(), 16u);
  ASSERT_EQ(passage.choices_LT.size(), 2u);
  for (const auto& choices : passage.choices_LT[1]) EXPECT_EQ(choices.size(), 2u);
  // The text is the domain's validation data.
  std::string text;
  for (const size_t row : {0, 1})
    for (const auto& part : found.study->passages[row].text_T) text += part;
  EXPECT_EQ(text, read_file(real_files(), options.data.domains[0].valid, 1 << 20).substr(0, 32));

  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, report::fixed(found.run.best()->loss, 4));
  EXPECT_PRED2(contains, page, "12 steps, complete");
  EXPECT_EQ(times(page, "class=\"map\""), 2u);
  EXPECT_EQ(times(page, "role=\"option\""), 64u);
}

TEST_F(TinyPage, OfARunThatWasInterrupted) {
  train(7);
  const auto found = data();
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "ended after 7 of 12 steps");
  EXPECT_EQ(found.study->step, 7);
}

TEST_F(TinyPage, WithoutCheckpoint) {
  train();
  std::filesystem::remove_all(run / "checkpoints");
  const auto found = data();
  EXPECT_FALSE(found.study);
  ASSERT_EQ(found.notes.size(), 1u);
  EXPECT_PRED2(contains, found.notes[0], "Routing of held-out text: [models/load]");
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_EQ(times(page, "class=\"map\""), 2u);  // the log still tells the load
  EXPECT_PRED2(contains, page, "Not in this report");
}

TEST_F(TinyPage, WithoutValidationData) {
  for (auto& domain : options.data.domains) domain.valid = "";
  train();
  const auto found = data();
  EXPECT_FALSE(found.study);
  EXPECT_FALSE(found.run.best());
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "Nothing was evaluated");
}

TEST_F(TinyPage, OfOneDomain) {
  options.data.domains.resize(1);
  train();
  const std::string page = report::render(data());
  expect_whole(page);
  EXPECT_PRED2(contains, page, "nothing to tell apart");
}

TEST_F(TinyPage, OfADenseModel) {
  models::DecoderOptions model;
  read_fields(model, options.model.options, "model");
  options.model.options = write_fields(models::dense_twin(model));
  train();
  const auto found = data();
  EXPECT_EQ(found.run.moe_layers(), 0);
  EXPECT_FALSE(found.study);
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "The model is dense");
  EXPECT_EQ(page.find("class=\"map\""), std::string::npos);
}

TEST_F(TinyPage, OfAPairShowsBoth) {
  const auto pair = train::compare_pair(options, run, 1, {});
  EXPECT_TRUE(report::is_comparison(run));
  const auto found = data();
  ASSERT_TRUE(found.twin);
  EXPECT_EQ(found.twin->moe_layers(), 0);
  EXPECT_EQ(found.notes, std::vector<std::string>());
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "its dense twin of equal active FLOPs");
  EXPECT_PRED2(contains, page, "dense twin, validation");
  EXPECT_PRED2(contains, page,
               report::signed_number(found.run.best()->loss - found.twin->best()->loss, 4));
  std::ofstream(run / "config.toml") << "[train]\n";
  EXPECT_FALSE(report::is_comparison(run));  // a run of its own beside the pair
  // What `moe compare` prints is what the page says.
  EXPECT_EQ(found.run.best()->loss, pair.moe_best);
  EXPECT_EQ(found.run.seconds(), pair.moe_seconds);
  EXPECT_EQ(found.twin->seconds(), pair.dense_seconds);
  // On a busy machine the faster of the two may be through before the other's first evaluation.
  const double at_equal_time = pair.equal_time_difference;
  EXPECT_PRED2(contains, page,
               std::isnan(at_equal_time)
                   ? "at equal wall time it was not measured"
                   : report::fixed(std::abs(at_equal_time), 4) +
                         (at_equal_time < 0 ? " below" : " above") + " it at equal wall time");
  // The pair has a report of its own, not two more.
  EXPECT_FALSE(std::filesystem::exists(run / "moe" / "report.html"));
}

TEST_F(TinyPage, OfAPairWithoutEvaluationsBetweenSaysWhatIsNotMeasured) {
  options.train.steps = 4;
  options.train.eval_every = 0;
  train::compare_pair(options, run, 1, {});
  const auto found = data();
  const std::string page = report::render(found);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "its dense twin of equal active FLOPs at equal steps");
  EXPECT_PRED2(contains, page, "; at equal wall time it was not measured");
  EXPECT_EQ(page.find("it at equal wall time"), std::string::npos);
}

TEST_F(TinyPage, OfAPairOfWhichOneIsUnfinishedComparesTheStepsThatBothHave) {
  train::RunOptions dense = options;
  dense.model = train::dense_twin(options.model);
  train::Run(options, run / "moe").start();
  train::Run(dense, run / "dense").start({.max_steps = 7});
  const auto found = data();
  ASSERT_TRUE(found.twin);
  const auto ours = found.run.log.loss_points(), theirs = found.twin->log.loss_points();
  ASSERT_EQ(theirs.size(), 1u);  // of step 5
  const double difference = ours[0].loss - theirs[0].loss;
  EXPECT_PRED2(
      contains, report::render(found),
      concat("<b>", report::fixed(std::abs(difference), 4), difference < 0 ? " below" : " above",
             "</b> its dense twin of equal active FLOPs at equal steps"));
}

TEST_F(TinyPage, OfSeveralSeedsListsThem) {
  options.train.steps = 5;
  for (const int64_t seed : {1, 2})
    train::compare_pair(options, run / concat("seed-", seed), seed, {});
  const auto found = data();
  ASSERT_EQ(found.seeds.size(), 2u);
  EXPECT_EQ(found.seeds[0].moe, found.run.best()->loss);
  EXPECT_EQ(found.seeds[0].difference, found.seeds[0].moe - found.seeds[0].dense);
  EXPECT_PRED2(contains, report::render(found), "Best validation losses by seed");
}

TEST_F(TinyPage, IsWrittenBesideTheRun) {
  options.train.steps = 2;
  train::Run(options, run).start();
  EXPECT_TRUE(report::try_write_report(run));
  expect_whole(read_file(real_files(), run / "report.html", 1 << 22));
}

TEST_F(TinyPage, ThatCannotBeWrittenFailsNothing) {
  options.train.steps = 2;
  std::filesystem::create_directories(run / "report.html" / "in the way");
  train::Run(options, run).start();
  EXPECT_FALSE(report::try_write_report(run));
}

TEST(ReportPage, NeedsARun) {
  const TemporaryFolder folder;
  EXPECT_ERROR(report::gather(folder.path()), "expected config.toml or metrics.jsonl of a run in");
}

TEST(ReportPage, DamagedFilesBecomeNotes) {
  const TemporaryFolder folder;
  std::ofstream(folder / "config.toml") << "steps = [";
  std::ofstream(folder / "metrics.jsonl") << "{\"step\": 1, \"lm_loss\": 2}\ndamaged\n";
  const auto found = report::gather(folder.path());
  ASSERT_EQ(found.notes.size(), 3u);
  EXPECT_PRED2(contains, found.notes[0], "The configuration: ");
  EXPECT_PRED2(contains, found.notes[1], "1 line of metrics.jsonl could not be read");
  expect_whole(report::render(found));
}

TEST(ReportPage, HostileTextStaysText) {
  auto data = made_up_report(10, 2, 4);
  data.title = data.machine.cpu = data.run.config = data.run.dtype = data.run.folder = kHostile;
  data.run.domains = {kHostile, "b"};
  data.notes = {kHostile};
  data.seeds = {{kHostile, 1, 2}, {"b", 1, 2}};
  data.study = made_up_study(2, 4, {kHostile, "b"});
  for (auto& evaluation : data.run.log.evaluations) evaluation.domains[0].first = kHostile;
  for (auto& step : data.run.log.steps) step.balance[0].first = kHostile;
  const std::string page = report::render(data);
  expect_whole(page);
  EXPECT_EQ(page.find("window.hacked = 1</script>"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(times(page, "<script"), 2u);  // the data and the program
  EXPECT_EQ(page.find('\xFF'), std::string::npos);
}

TEST(ReportPage, NumbersInTheTablesAreTheData) {
  const std::string page = report::render(made_up_report(10, 1, 3));
  // Expert 0 of domain a: 1 of 1 + 2 + 3 pairs.
  EXPECT_PRED2(contains, page, ">16.7 %</td>");
  EXPECT_PRED2(contains, page, "removes <b>12.5 %</b>");
  EXPECT_PRED2(contains, page, "2.00×</td>");
}

TEST(ReportPage, OfAModelOfImagesNamesItsMetricsAndNoNats) {
  auto data = made_up_report(10, 1, 3);
  models::ModelSpec spec;
  spec.architecture = "vision";
  for (const auto& [key, value] : {std::pair{"height", 8},
                                   {"width", 8},
                                   {"classes", 10},
                                   {"patch", 4},
                                   {"d_model", 8},
                                   {"layers", 1},
                                   {"heads", 2}})
    spec.options.set(key, Value(int64_t{value}));
  data.run.model = models::make_model(spec);
  for (auto& evaluation : data.run.log.evaluations)
    evaluation.metrics = {{"accuracy", 0.75}, {kHostile, 1}};
  const std::string page = report::render(data);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "accuracy 0.75");
  EXPECT_PRED2(contains, page, "images/s, median");
  EXPECT_EQ(page.find("nats a token"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
}

/// A report claims nothing that the files do not tell.
TEST(ReportPage, WhatIsNotLoggedIsNoZero) {
  auto data = made_up_report(10, 1, 3);
  const std::string whole = report::render(data);
  EXPECT_PRED2(contains, whole, "last step · 1 expert unused");
  EXPECT_EQ(whole.find("No expert turned a token away"), std::string::npos);
  for (auto& step : data.run.log.steps)
    for (auto& layer : step.layers) layer.dropped = 0;
  EXPECT_PRED2(contains, report::render(data), "No expert turned a token away");
  for (auto& step : data.run.log.steps)
    for (auto& layer : step.layers) layer.dropped = layer.unused = analyze::kNotLogged;
  data.run.log.steps.back().layers.clear();  // the last tenth does not tell who is unused
  for (auto& layer : data.study->specialisation.layers) layer.percentile_99 = analyze::kNotLogged;
  data.study->specialisation.permutations = 20;
  const std::string page = report::render(data);
  expect_whole(page);
  for (const char* claim :
       {"none unused", "No expert turned a token away",
        "Every expert got a token in every logged step", "more than chance", "settles 0.0 %"})
    EXPECT_EQ(page.find(claim), std::string::npos) << claim;
  EXPECT_PRED2(contains, page, "20 permutations cannot tell that from chance, which takes 99");
}

TEST(ReportPage, OfSeedsThatShareNoStepHasNoMean) {
  auto data = made_up_report(10, 1, 3);
  data.seeds = {{"seed-1", 1, 2, -1}, {"seed-2", 1, 2}};
  const std::string page = report::render(data);
  expect_whole(page);
  EXPECT_PRED2(contains, page, "<th scope=\"row\">mean</th><td></td><td></td><td>–</td>");
  data.seeds[1].difference = -2;
  EXPECT_PRED2(contains, report::render(data), "−1.5000</td>");
}

TEST(ReportPage, StaysSmallAndFastForManyExpertsAndSteps) {
  for (const auto& [steps, layers, experts] : {std::tuple{2000, 2, 512}, std::tuple{20000, 4, 8},
                                               std::tuple{300, 48, 64}, std::tuple{50, 58, 256}}) {
    const auto data = made_up_report(steps, layers, experts);
    const auto begin = std::chrono::steady_clock::now();
    const std::string page = report::render(data);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    expect_whole(page);
    std::printf("%d steps, %d layers, %d experts: %zu kB in %.2f s\n", steps, layers, experts,
                page.size() / 1000, seconds);
    EXPECT_LT(seconds, 10);
  }
}

}  // namespace
}  // namespace moe::test
