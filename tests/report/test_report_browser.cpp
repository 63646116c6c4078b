// Opens reports in headless Chromium, where there is one, and uses everything in them once.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include <moe/base/files.h>
#include <report/bench/page.h>
#include <report/render.h>

#include "tests/report/bench_fixture.h"
#include "tests/report/report_fixture.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test {
namespace {

std::string find_browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    if (std::system(concat("command -v ", name, " >/dev/null 2>&1").c_str()) == 0) return name;
  return "";
}

struct Opened {
  std::string page, log;
};

/// The page after its scripts ran, and what the browser logged.
Opened open(const std::string& browser, std::string page, int width) {
  const TemporaryFolder folder;
  const std::string check =
      read_file(real_files(), Path(MOE_SOURCE_DIR) / "tests/report/report_selfcheck.js", 1 << 20);
  page.insert(page.find("</head>"), "<script>" + check + "</script>");
  std::ofstream(folder / "report.html") << page;
  const std::string command =
      concat("timeout 120 ", browser, " --headless --no-sandbox --disable-gpu --no-first-run",
             " --user-data-dir=", (folder / "profile").string(), " --window-size=", width, ",2000",
             " --enable-logging=stderr --virtual-time-budget=5000 --dump-dom file://",
             (folder / "report.html").string(), " >", (folder / "dom").string(), " 2>",
             (folder / "log").string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return {read_file(real_files(), folder / "dom", 1 << 26),
          read_file(real_files(), folder / "log", 1 << 26)};
}

void expect_usable(const std::string& text, int width = 1280) {
  const std::string browser = find_browser();
  if (browser.empty())
    GTEST_SKIP() << "no chromium, chromium-browser or google-chrome to open the report with";
  const auto [page, log] = open(browser, text, width);
  const size_t at = page.find("data-selfcheck=\"");
  ASSERT_NE(at, std::string::npos) << page.substr(0, 300) << log;
  const std::string found = page.substr(at + 16, page.find('"', at + 16) - at - 16);
  std::printf("%s\n", found.c_str());
  EXPECT_TRUE(found.starts_with("ok, used ")) << found;
  EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;  // errors and warnings of the page
}

void expect_usable(const report::ReportData& data, int width = 1280) {
  expect_usable(report::render(data), width);
}

TEST(ReportBrowser, EverythingInAReportCanBeUsed) {
  expect_usable(made_up_report(40, 3, 8));
}

TEST(ReportBrowser, AComparisonFitsANarrowWindow) {
  auto data = made_up_report(40, 2, 4);
  data.twin = data.run;
  for (auto& step : data.twin->log.steps) step.layers.clear();
  data.seeds = {{"seed-1", 1, 2}, {"seed-2", 1, 2}};
  expect_usable(std::move(data), 800);
}

TEST(ReportBrowser, ManyExpertsAndLayers) {
  expect_usable(made_up_report(60, 24, 64), 800);
}

TEST(ReportBrowser, ADenseRunWithoutAnything) {
  expect_usable(made_up_report(0, 0, 0));
}

TEST(ReportBrowser, BenchmarksCanBeUsed) {
  const TemporaryFolder folder;
  std::ofstream(folder / "bench.jsonl") << whole_bench() << peer_line("fast", "layer", 80);
  auto results = report::bench::read_results({folder / "bench.jsonl"});
  expect_usable(report::bench::render(results));
  results.head.cpu = results.rows[0].work.dtype = kHostile;
  expect_usable(report::bench::render(results), 800);
}

TEST(ReportBrowser, HostileTextRunsNothing) {
  auto data = made_up_report(10, 2, 4);
  data.title = data.run.config = data.machine.cpu = kHostile;
  data.notes = {kHostile};
  data.study = made_up_study(2, 4, {kHostile, "b"});
  for (auto& step : data.run.log.steps) step.balance[0].first = kHostile;
  expect_usable(std::move(data));
}

}  // namespace
}  // namespace moe::test
