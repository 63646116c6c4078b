// Studies: rows are those of the registries, a study goes on where it was stopped with the same
// figures, other settings are refused, a skewed start is one.
#include <algorithm>
#include <cmath>
#include <set>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/experts/experts.h>
#include <moe/layers/feed_forward.h>
#include <moe/routing/router.h>
#include <moe/study/recommended.h>
#include <moe/study/runner.h>
#include <moe/study/settings.h>
#include <moe/study/summary.h>
#include <moe/train/compare.h>

#include "tests/study/small_study.h"

namespace moe::study {
namespace {

using moe::test::contains;
using moe::test::small_study;

/// What a study without times says.
std::string without_times(StudySummary summary) {
  for (auto& row : summary.rows) {
    row.seconds = row.tokens_per_second = 0;
    row.loss_at_equal_time = {};
    row.peak_bytes = 0;
  }
  return write_summary(summary);
}

StudySummary all_of(const Plan& plan, const Path& out) {
  const auto launcher = in_this_process([] { return 0; });
  EXPECT_TRUE(run_study(plan, out, *launcher));
  return summarise(plan, out, {.date = "today", .version = "1", .machine = "a machine"});
}

TEST(Study, ARowForEveryRegisteredKind) {
  moe::test::TemporaryFolder folder;
  const auto plan = make_plan(small_study(folder.path(), "routers", {}, 1));
  std::set<std::string> kinds, causal;
  for (const auto& row : plan.variants) {
    kinds.insert(row.kind);
    if (row.group == "causal" && row.left_out.empty()) causal.insert(row.kind);
    EXPECT_NE(row.left_out.empty(), row.note.empty()) << row.name << row.left_out;
  }
  for (const auto& kind : routing::routers().names()) EXPECT_TRUE(kinds.contains(kind)) << kind;
  EXPECT_TRUE(kinds.contains("soft_moe"));
  // Rules that look ahead stand apart, and one that has no rule of its own is left out with reason.
  for (const char* kind : {"expert_choice", "soft_moe", "replay"})
    EXPECT_FALSE(causal.contains(kind)) << kind;
  for (const char* kind : {"topk", "switch", "hash", "sigmoid", "dense", "dense_twin"})
    EXPECT_TRUE(causal.contains(kind)) << kind;
  std::set<std::string> folders;
  for (const auto& run : plan.runs) folders.insert(run.folder.string());
  EXPECT_EQ(folders.size(), plan.runs.size());
}

TEST(Study, RecommendationsAreForKindsThatAreThere) {
  moe::test::TemporaryFolder folder;
  const auto base = moe::test::small_base(folder.path());
  const auto names = routing::routers().names();
  for (const auto& known : recommended_routers()) {
    if (std::ranges::find(names, known.kind) == names.end()) continue;
    if (!known.left_out.empty()) continue;
    EXPECT_NO_THROW(with_settings(base, known.settings)) << known.kind;
  }
}

TEST(Study, EveryExpertKindAtEqualCost) {
  moe::test::TemporaryFolder folder;
  const auto base = moe::test::small_base(folder.path());
  const auto plan = make_plan(small_study(folder.path(), "experts", {}, 1));
  std::set<std::string> kinds;
  const int64_t flops = size_of(base).flops;
  for (const auto& row : plan.variants) {
    kinds.insert(row.kind);
    if (row.group != "equal FLOPs" || !row.left_out.empty() || row.kind == "layout") continue;
    // Widths go in steps of 4; the dense twin needs no router.
    EXPECT_NEAR(static_cast<double>(size_of(row.run).flops), static_cast<double>(flops),
                0.05 * static_cast<double>(flops))
        << row.name;
  }
  for (const auto& kind : experts::expert_kinds().names())
    EXPECT_TRUE(kinds.contains(kind)) << kind;
}

TEST(Study, GoesOnWithTheSameFigures) {
  moe::test::TemporaryFolder folder;
  const auto plan = make_plan(small_study(folder.path(), "routers", {"topk", "hash"}));
  const auto at_once = all_of(plan, folder / "whole");
  ASSERT_GE(at_once.rows.size(), 2u);
  for (const auto& row : at_once.rows) {
    EXPECT_EQ(row.seeds, 2) << row.name << row.failure;
    EXPECT_TRUE(std::isfinite(row.loss.mean) && std::isfinite(row.loss.half_width)) << row.name;
    EXPECT_GT(row.tokens_per_second, 0) << row.name;
    EXPECT_NEAR(row.loss_at_equal_time.mean, row.loss.mean, 1) << row.name;
  }
  // Stopped after the first run, within the second, with rubbish left of a third.
  int asked = 0;
  const auto stop = [&] { return ++asked > 9 ? 15 : 0; };
  const auto launcher = in_this_process(stop);
  EXPECT_FALSE(run_study(plan, folder / "parts", *launcher, {.stop = stop}));
  size_t finished = 0;
  for (const auto& run : plan.runs) finished += has_result(folder / "parts" / run.folder.string());
  EXPECT_GE(finished, 1u);
  EXPECT_LT(finished, plan.runs.size());
  const Path third = Path(folder / "parts") / plan.runs[2].folder / "run";
  make_folders(real_files(), third);
  std::ofstream(third / "metrics.jsonl") << "torn";
  EXPECT_EQ(without_times(all_of(plan, folder / "parts")), without_times(at_once));
}

TEST(Study, MoreSeedsKeepWhatIsFinished) {
  moe::test::TemporaryFolder folder;
  const auto one = make_plan(small_study(folder.path(), "routers", {"hash"}, 1));
  all_of(one, folder / "out");
  const Path first = Path(folder / "out") / one.runs.front().folder / kResultFile;
  const auto before = std::filesystem::last_write_time(first);
  const auto two =
      all_of(make_plan(small_study(folder.path(), "routers", {"hash"}, 2)), folder / "out");
  EXPECT_EQ(std::filesystem::last_write_time(first), before);
  EXPECT_EQ(two.rows.front().seeds, 2);
}

TEST(Study, RefusesOtherSettingsAndData) {
  moe::test::TemporaryFolder folder;
  auto options = small_study(folder.path(), "routers", {"hash"}, 1);
  all_of(make_plan(options), folder / "out");
  options.base.train.steps = 8;
  options.base.train.optimizer.lr = 0.5;
  const auto refused = [&](const StudyOptions& other) {
    const auto launcher = in_this_process([] { return 0; });
    return moe::test::message_of([&] { run_study(make_plan(other), folder / "out", *launcher); });
  };
  const std::string message = refused(options);
  EXPECT_PRED2(contains, message, "run.train.steps: was 6, is 8");
  EXPECT_PRED2(contains, message, "run.train.optimizer.lr");
  EXPECT_PRED2(contains, message, "choose another --out");
  const auto same = small_study(folder.path(), "routers", {"hash"}, 1);
  EXPECT_EQ(refused(same), "");
  std::ofstream(folder / "train.txt", std::ios::app) << "something else";
  EXPECT_PRED2(contains, refused(same), "sources");
}

TEST(Study, RefusesWhatIsNotThere) {
  moe::test::TemporaryFolder folder;
  EXPECT_ERROR(make_plan(small_study(folder.path(), "router", {})), "Did you mean 'routers'?");
  EXPECT_ERROR(make_plan(small_study(folder.path(), "routers", {"sigmoyd"})),
               "Did you mean 'sigmoid'?");
  EXPECT_ERROR(make_plan(small_study(folder.path(), "routers", {}, 0)), "[1, 100], got 0");
}

TEST(Study, AFailureIsAResultWithItsReason) {
  moe::test::TemporaryFolder folder;
  auto plan = make_plan(small_study(folder.path(), "routers", {"hash"}, 1));
  plan.runs.front().task.run.data.domains.front().train = (folder / "gone.txt").string();
  const auto summary = all_of(plan, folder / "out");
  const auto row =
      std::ranges::find(summary.rows, plan.runs.front().task.variant, &RowSummary::name);
  EXPECT_EQ(row->seeds, 0);
  EXPECT_PRED2(contains, row->failure, "gone.txt");
}

TEST(Study, ASkewedStartIsOneAndARuleEvensIt) {
  moe::test::TemporaryFolder folder;
  auto options = small_study(folder.path(), "balance", {"topk", "switch"}, 1, 60);
  options.base.train.optimizer.lr = 0.02;
  const auto plan = make_plan(options);
  const auto summary = all_of(plan, folder / "out");
  const auto row = [&](const std::string& name) {
    return *std::ranges::find(summary.rows, name, &RowSummary::name);
  };
  for (const char* name : {"no rule", "switch"}) {
    ASSERT_FALSE(row(name).crowding.empty()) << row(name).failure;
    // Two of four experts take everything.
    EXPECT_NEAR(row(name).crowding.front().max_over_mean, 2, 0.2) << name;
  }
  EXPECT_LT(row("switch").max_over_mean, row("no rule").max_over_mean);
}

TEST(Study, ResultsSurviveTheirFile) {
  RunResult result{.variant = "a \"b\"\n", .seed = 3};
  result.loss = std::nan("");
  result.losses = {{2, 0.5, 1.25}, {4, 1, std::nan("")}};
  result.domains = {{"x", 1.5}};
  result.peak_bytes = 7;
  result.layers = {{1, 1.5, 0.9, 2, 0.25, {0.75, 0.25}}};
  result.crowding = {{5, 1.5}};
  const std::string text = write_result(result);
  EXPECT_EQ(write_result(parse_result(text, "text")), text);
  EXPECT_ERROR(parse_result("{\"variant\": 3}", "the file"), "the file");
  EXPECT_ERROR(parse_result("{", "the file"), "the file");
}

TEST(Study, EvenFromTheLastUnevenStepOn) {
  EXPECT_EQ(even_from({{5, 4}, {10, 1.5}, {15, 2.5}, {20, 2}, {25, 1}}), 20);
  EXPECT_EQ(even_from({{5, 1}, {10, 1}}), 5);
  EXPECT_EQ(even_from({{5, 1}, {10, 3}}), -1);
  EXPECT_EQ(even_from({{5, 1}, {10, std::nan("")}}), -1);
  EXPECT_EQ(even_from({}), -1);
}

}  // namespace
}  // namespace moe::study
