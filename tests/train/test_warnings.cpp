// What may be wrong at every step is said in few lines.
#include <sstream>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/train/monitor.h>

#include "tests/support/message_of.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

std::vector<std::string> warnings_in(const std::string& log) {
  std::vector<std::string> out;
  std::istringstream in(log);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("warning: ")) out.push_back(line.substr(9));
  return out;
}

/// The lines of what `act` writes.
template <class Act>
std::vector<std::string> warnings_of(const Act& act) {
  testing::internal::CaptureStderr();
  act();
  return warnings_in(testing::internal::GetCapturedStderr());
}

using Lines = std::vector<std::string>;
const train::PeriodicWarnings::Kind kKind = {"things", "Do."};

TEST(PeriodicWarnings, AreALineAtOnceAndOneAPeriodWithTheCountAndTheWorst) {
  const auto lines = warnings_of([] {
    train::PeriodicWarnings warnings(10);
    for (int64_t step = 1; step <= 25; ++step) {
      for (int64_t subject = 0; subject < step; ++subject)
        warnings.add(kKind, subject, static_cast<double>(step == 7 ? 100 : step),
                     [&] { return concat("worst in ", step); });
      warnings.end_step(step);
    }
    warnings.finish();
  });
  EXPECT_EQ(lines, (Lines{"step 1: things: 1, worst in 1. Do.",
                          "steps 2 to 11: things: 11, worst in 7. Do.",
                          "steps 12 to 21: things: 21, worst in 21. Do.",
                          "steps 22 to 25: things: 25, worst in 25. Do."}));
}

TEST(PeriodicWarnings, AreNotRepeatedUntilSomethingIsNewOrHasComeBack) {
  const auto lines = warnings_of([] {
    train::PeriodicWarnings warnings(10);
    const auto run = [&](int64_t from, int64_t to, std::vector<int64_t> subjects) {
      for (int64_t step = from; step <= to; ++step) {
        for (const int64_t subject : subjects)
          warnings.add(kKind, subject, 1, [&] { return concat("subject ", subject); });
        warnings.end_step(step);
      }
    };
    run(1, 50, {5});      // told once
    run(51, 60, {5, 6});  // something new
    run(61, 100, {});     // nothing
    run(101, 101, {6});   // it is back
    warnings.finish();
  });
  EXPECT_EQ(lines,
            (Lines{"step 1: things: 1, subject 5. Do.", "steps 42 to 51: things: 2, subject 5. Do.",
                   "step 101: things: 1, subject 6. Do."}));
}

TEST(PeriodicWarnings, OfKindsStandApartAndOneThatMayNotSpeakIsSilent) {
  const auto lines = warnings_of([] {
    for (const bool speaks : {true, false}) {
      train::PeriodicWarnings warnings(10, speaks);
      for (const char* what : {"a", "b"})
        warnings.add({what, ""}, 1, 1, [] { return std::string("text"); });
      warnings.end_step(3);
      warnings.finish();
    }
  });
  EXPECT_EQ(lines, (Lines{"step 3: a: 1, text.", "step 3: b: 1, text."}));
}

train::LayerLoad load_of(int64_t layer, std::vector<double> load_E) {
  train::LayerLoad out;
  out.layer = layer;
  out.load_E = at::tensor(load_E, at::kDouble);
  return out;
}

/// 2 layers of 32 experts of which one takes all, over 120 steps.
TEST(ExpertMonitor, SaysInFewLinesThatMostExpertsAreIdle) {
  const auto lines = warnings_of([] {
    train::PeriodicWarnings warnings(100);
    train::ExpertMonitor monitor({.unused_steps = 100, .overload = 5}, &warnings);
    for (int64_t step = 1; step <= 120; ++step) {
      std::vector<double> load(32, 0);
      load[static_cast<size_t>(step > 60)] = 64;
      monitor.observe({load_of(0, load), load_of(3, load)}, step);
      warnings.end_step(step);
    }
    warnings.finish();
  });
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(
      lines[0],
      "step 1: experts that took more than 5 times the mean load: 2, at most 32 times, expert "
      "0 of layer 0 in step 1. A new run can add balance terms (model.moe.balance) or raise "
      "their coefficients.");
  EXPECT_EQ(lines[1],
            "step 100: experts without a token for 100 steps or more: 60, the longest expert 2 of "
            "layer 0 for 100. A new run can add balance terms (model.moe.balance) or raise their "
            "coefficients, or set train.monitor.revive = true.");
  EXPECT_PRED2(contains, lines[2], "steps 2 to 101: experts that took more than 5 times");
  EXPECT_PRED2(contains, lines[2], ": 4, at most 32 times, expert 0 of layer 0 in step 2.");
}

TEST(ExpertMonitor, TellsOfIdleExpertsByNumberForTheLog) {
  train::ExpertMonitor monitor({.unused_steps = 2, .overload = 0});
  for (int64_t step = 1; step <= 3; ++step)
    monitor.observe({load_of(0, {1, 1}), load_of(4, {0, 3, step == 3 ? 0. : 1., 0})}, step);
  const auto news = monitor.news({{.layer = 4, .expert = 3, .busiest = 1}});
  ASSERT_EQ(news.size(), 2u);
  EXPECT_TRUE(news[0].unused_experts.empty() && news[0].revived.empty());
  EXPECT_EQ(news[1].unused_experts, (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(news[1].unused_steps, (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(news[1].revived, (std::vector<int64_t>{3}));
  EXPECT_EQ(news[1].revived_from, (std::vector<int64_t>{1}));
}

/// A run of experts that die, as its log has it.
class DyingExperts : public testing::Test {
 protected:
  DyingExperts() { let_experts_idle(options, /*steps=*/60, /*unused_steps=*/5); }
  std::vector<std::string> warnings() {
    return warnings_of([&] { train::Run(options, folder_ / "run").start(); });
  }

  TemporaryFolder folder_;
  train::RunOptions options = tiny_run(folder_.path());
};

TEST_F(DyingExperts, AreALineAKindAndPeriodAndStandInTheMetrics) {
  const auto lines = warnings();
  EXPECT_GE(lines.size(), 1u);
  EXPECT_LE(lines.size(), 4u);  // two kinds, at once and in the end
  int64_t named = 0;
  for (const auto& line : metrics_without_times(folder_ / "run")) {
    if (!line.contains("layers")) continue;
    for (const auto& layer : line["layers"]) {
      EXPECT_FALSE(layer.contains("revived"));
      if (!layer.contains("unused_experts")) continue;
      const auto& experts = layer["unused_experts"];
      const auto& steps = layer["unused_steps"];
      ASSERT_EQ(experts.size(), steps.size());
      for (size_t i = 0; i < experts.size(); ++i) {
        ++named;
        EXPECT_GE(steps[i].get<int64_t>(), 5);
        EXPECT_EQ(layer["load"][experts[i].get<size_t>()], 0);
      }
    }
  }
  EXPECT_GT(named, 0);
}

TEST_F(DyingExperts, ThatAreStartedAgainAreEachNamedInTheMetricsOfTheirStep) {
  options.train.monitor.revive = true;
  options.train.log_every = 1000;
  const auto lines = warnings();
  EXPECT_GE(lines.size(), 1u);
  EXPECT_LE(lines.size(), 6u);
  const auto told = std::ranges::find_if(lines, [](const auto& line) {
    return contains(line, "restarts of experts that got no tokens: ");
  });
  ASSERT_NE(told, lines.end());
  int64_t restarts = 0;
  for (const auto& line : metrics_without_times(folder_ / "run"))
    if (line.contains("layers"))
      for (const auto& layer : line["layers"])
        if (layer.contains("revived")) {
          restarts += static_cast<int64_t>(layer["revived"].size());
          EXPECT_EQ(layer["revived"].size(), layer["revived_from"].size());
        }
  EXPECT_GT(restarts, 4);
  // The log is read back as before.
  EXPECT_TRUE(train::Run(options, folder_ / "run").metrics().find("layers.1.unused"));
}

/// What the lines advise is a configuration that trains.
TEST_F(DyingExperts, TheRemediesAreAccepted) {
  options.train.steps = 2;
  options.train.monitor.revive = true;
  change_model(options, [](auto& model) { model.uniform.moe.balance = {{"switch", 0.05, {}}}; });
  EXPECT_EQ(train::Run(options, folder_ / "run").start().record.step, 2);
}

TEST(Untrained, RoutersAreToldOfOnceWhereTheyAreTrainedAndOnlyThere) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 1;
  options.train.schedule.warmup = 0;
  change_model(options, [](auto& model) {
    model.uniform.moe.top_k = 1;
    model.uniform.moe.router.kind = "topk";
  });
  EXPECT_EQ(warnings_of([&] { models::make_model(options.model, 1); }), Lines());
  const auto lines = warnings_of([&] { train::Run(options, folder / "run").start(); });
  EXPECT_EQ(lines,
            Lines{"[routing/topk] one choice divided by its own sum weighs 1 for every "
                  "token, so the task loss cannot train the router. Keep the weight as it is "
                  "(renormalise = false), or raise top_k. This holds in 2 layers."});
  options.train.optimizer.groups = {{.match = "*.router.*", .frozen = true}};
  EXPECT_EQ(warnings_of([&] { train::Run(options, folder / "frozen").start(); }), Lines());
}

}  // namespace
}  // namespace moe::test
