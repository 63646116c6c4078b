// The page of a study, from made up figures of any kind.
#include <cmath>
#include <regex>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <report/study/page.h>

namespace moe::report::study {
namespace {

using moe::study::Figure;
using moe::study::RowSummary;
using moe::study::StudySummary;
using moe::test::contains;

const std::string kHostile = "</table><script>alert(1)</script>\"'&";

RowSummary made_up_row(const std::string& name, double loss, double tokens_per_second) {
  RowSummary row{.name = name, .kind = name, .group = "causal", .note = "a note", .seeds = 3};
  row.loss = {loss, 0.01};
  row.over_baseline = {0.5, 0.25};
  row.loss_at_equal_time = {loss + 1, 0.02};
  row.tokens_per_second = tokens_per_second;
  row.seconds = 10;
  row.max_over_mean = 1.25;
  row.entropy = 0.95;
  row.unused = 0.5;
  row.dropped = 0;
  row.experts = 4;
  row.losses = {{10, 0, loss + 1}, {20, 0, loss}};
  row.crowding = {{10, 4}, {20, 1.5}};
  row.even_from = {20, -1, 20};
  row.loads = {{0.4, 0.3, 0.2, 0.1}, {0.7, 0.1, 0.1, 0.1}};
  return row;
}

StudySummary made_up() {
  StudySummary out{.name = "routers", .title = "Routers", .help = "help"};
  out.groups = {{"causal", "Next character", "what it asks"}};
  out.seeds = 3;
  out.steps = 400;
  out.tokens_per_step = 2048;
  out.dtype = "float32";
  out.about = {"2026-01-01 00:00 UTC", "1.2.3", "a machine", 2};
  out.rows = {made_up_row("fast", 2, 5000), made_up_row("slow", 1, 1000)};
  out.rows[0].baseline = true;
  out.left_out = {{"replay", "no rule of its own"}};
  return out;
}

size_t place_of(const std::string& text, const std::string& part) {
  return text.find(part);
}

TEST(StudyPage, ShowsBothOrders) {
  auto summary = made_up();
  // As summarise sorts: by loss. At equal time the fast one is ahead.
  std::swap(summary.rows[0], summary.rows[1]);
  summary.rows[0].loss_at_equal_time = {3, 0.1};
  summary.rows[1].loss_at_equal_time = {2.5, 0.1};
  const std::string page = render(summary);
  const std::string steps = page.substr(page.find("At equal steps")),
                    time = page.substr(page.find("At equal time"));
  EXPECT_LT(place_of(steps, ">slow<"), place_of(steps, ">fast <"));
  EXPECT_LT(place_of(time, ">fast <"), place_of(time, ">slow<"));
  for (const char* shown : {"1.0000 ± 0.0100", "+0.5000 ± 0.2500", "5,000", "replay",
                            "no rule of its own", "a machine", "400"})
    EXPECT_PRED2(contains, page, shown);
}

TEST(StudyPage, HoldsWhateverANameIs) {
  auto summary = made_up();
  summary.rows[0].name = summary.rows[0].note = kHostile;
  summary.rows[1].seeds = 0;
  summary.rows[1].failure = kHostile;
  summary.left_out = {{kHostile, kHostile}};
  summary.config = kHostile;
  summary.about.machine = kHostile;
  const std::string page = render(summary);
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_PRED2(contains, page, "&lt;script&gt;alert");
}

TEST(StudyPage, StandsWithoutFigures) {
  auto summary = made_up();
  for (auto& row : summary.rows) {
    row = RowSummary{.name = row.name, .kind = "k", .group = "causal", .note = "n"};
  }
  EXPECT_PRED2(contains, render(summary), "not trained yet");
  summary.rows.clear();
  EXPECT_PRED2(contains, render(summary), "How it was measured");
}

TEST(StudyPage, DrawsMeansWhiskersAndLoads) {
  EXPECT_EQ(whiskers({std::nan(""), 1}, 0, 1), "");
  EXPECT_EQ(whiskers({1, 1}, 1, 1), "");
  // The mean in the middle of a picture of 150, whiskers half of the rest each.
  EXPECT_PRED2(contains, whiskers({0.5, 0.25}, 0, 1), "cx=\"75\"");
  EXPECT_PRED2(contains, whiskers({0.5, 0.25}, 0, 1), "M39.5 9H110.5");
  EXPECT_EQ(load_bars({}), "");
  const std::string bars = load_bars({{0.5, 0.5}, {1.0, 0.0}});
  // The busiest expert has twice the mean: the whole height of 18.
  EXPECT_PRED2(contains, bars, "v-18h4v18z");
  EXPECT_PRED2(contains, bars, "v-9h4v9z");
  EXPECT_EQ(loss_curves(made_up(), "another"), "");
  EXPECT_PRED2(contains, loss_curves(made_up(), "causal"), "study s0");
  EXPECT_PRED2(contains, load_curves(made_up(), "causal"), "study s1");
}

TEST(StudyPage, BalanceIsSortedByTheStepsUntilEven) {
  auto summary = made_up();
  summary.name = "balance";
  summary.rows[0].even_from = {20, -1, 20};
  summary.rows[1].even_from = {50, 50, 60};
  const std::string page = render(summary);
  const std::string even = page.substr(page.find("Steps until it is even"));
  EXPECT_LT(place_of(even, ">slow<"), place_of(even, ">fast <"));
  EXPECT_PRED2(contains, even, "20, never, 20");
}

}  // namespace
}  // namespace moe::report::study
