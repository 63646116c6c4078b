// What the suite wrote, read back and drawn.
#include <cmath>
#include <regex>
#include <sstream>

#include <gtest/gtest.h>

#include <report/bench/page.h>

#include "tests/report/bench_fixture.h"
#include "tests/report/report_fixture.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test {
namespace {

using report::bench::BenchResults;

BenchResults read(const std::string& text) {
  const TemporaryFolder folder;
  std::ofstream(folder / "bench.jsonl") << text;
  return report::bench::read_results({folder / "bench.jsonl"});
}

TEST(BenchResults, HoldWhatTheLinesSay) {
  const auto results = read(bench_head() + bench_line("table", 8) + peer_line("slow", "layer", 90) +
                            peer_line("fast", "layer", 80) + peer_line("block", "dense", 10) +
                            R"({"peers_skipped":"x"})"
                            "\n" +
                            R"({"torn": )");
  EXPECT_EQ(results.head.cpu, "A CPU");
  EXPECT_EQ(results.head.threads, 2);
  EXPECT_EQ(results.head.peak("bfloat16"), 200);
  EXPECT_EQ(results.head.peak("float64"), 0);
  ASSERT_EQ(results.rows.size(), 1u);
  const auto& row = results.rows[0];
  EXPECT_EQ(row.work.experts, 8);
  EXPECT_EQ(row.ms, 50);
  EXPECT_EQ(row.dense_ms, 25);
  EXPECT_EQ(row.flops / row.moved_bytes, 50);
  EXPECT_EQ(results.best_peer(row.work)->peer, "fast");
  EXPECT_EQ(results.best_peer(row.work, true)->peer, "block");
  auto other = row.work;
  other.dtype = "bfloat16";
  EXPECT_EQ(results.best_peer(other), nullptr);
}

TEST(BenchResults, RefuseWhatIsNone) {
  EXPECT_ERROR(read(""), "expected a line with 'suite'");
  EXPECT_ERROR(read(bench_line("table", 8)), "expected a line with 'suite'");
  EXPECT_ERROR(read(bench_head() + "nonsense\n"), "line 2 of");
  EXPECT_ERROR(read(bench_head() + "{}\n"), "'group' to be text in line 2");
  EXPECT_ERROR(read(R"({"suite":3})"
                    "\n"),
               "'suite' to be an object in line 1");
  EXPECT_ERROR(read(bench_head() + bench_line("table", 0)), "'experts' to be a whole number");
  EXPECT_ERROR(read(bench_head() + bench_line("table", 8, "float32", "train", "learned", 0)),
               "'median_ms' to be a time above 0");
  EXPECT_ERROR(read(bench_head() + bench_line("table", 8, "float32", "train", "learned", -1)),
               "'median_ms' to be a number of at least 0");
  const std::string line = bench_line("table", 8);
  for (size_t at = 1; at + 1 < line.size(); at += 7)  // torn anywhere, with a newline behind
    EXPECT_NE(message_of([&] { read(bench_head() + line.substr(0, at) + "\n"); }), "");
}

/// Where a picture has a mark, in the numbers of its axes.
struct Plot {
  double left, top, right, bottom, x_low, x_high, y_low, y_high;

  explicit Plot(const std::string& svg) {
    const auto attribute = [&](const std::string& name) {
      std::smatch found;
      return std::regex_search(svg, found, std::regex(name + "=\"([^\"]*)\"")) ? found[1].str()
                                                                               : "";
    };
    std::istringstream(attribute("data-plot")) >> left >> top >> right >> bottom;
    std::istringstream(attribute("data-range")) >> x_low >> x_high >> y_low >> y_high;
  }
  double x(double px) const {
    return x_low * std::pow(x_high / x_low, (px - left) / (right - left));
  }
  double y(double py) const {
    return y_high * std::pow(y_low / y_high, (py - top) / (bottom - top));
  }
};

TEST(BenchPage, TheRooflineIsTheMachinesAndPointsStandAtTheirNumbers) {
  const std::string svg = report::bench::roofline(read(bench_head() + bench_line("table", 8)));
  const Plot plot(svg);
  std::smatch circle;
  ASSERT_TRUE(std::regex_search(
      svg, circle, std::regex("<circle class=\"dot f32[^>]*cx=\"([^\"]*)\" cy=\"([^\"]*)\"")));
  EXPECT_NEAR(plot.x(std::stod(circle[1])) / 50, 1, 0.01);
  EXPECT_NEAR(plot.y(std::stod(circle[2])) / 40, 1, 0.01);
  // Limits: float32 from its ridge at 100 / 10 on; the slope up to int8's at 400 / 10.
  const auto values = [&](const std::string& name) {
    const std::regex line("data-name=\"" + name + "\" data-v=\"([^\"]*)\"");
    std::smatch found;
    return std::regex_search(svg, found, line) ? found[1].str() : "";
  };
  EXPECT_EQ(values("limit of float32").rfind("10:100 50:100 ", 0), 0u)
      << values("limit of float32");
  EXPECT_EQ(values("limit of bfloat16").rfind("20:200 50:200 ", 0), 0u);
  EXPECT_EQ(values("limit of int8").rfind("40:400 50:400 ", 0), 0u);
  EXPECT_TRUE(values("memory").ends_with(" 40:400")) << values("memory");
}

TEST(BenchPage, ScalingIsTimeOverDenseAndTokensASecond) {
  using report::bench::Scaling;
  const auto results =
      read(bench_head() + bench_line("scaling", 64, "float32", "train", "learned", 100) +
           bench_line("scaling", 8));
  EXPECT_PRED2(contains, report::bench::scaling(results, Scaling::kOverDense),
               "data-v=\"8:2 64:4\"");
  EXPECT_PRED2(contains, report::bench::scaling(results, Scaling::kTokensPerSecond),
               "data-v=\"8:1280 64:640\"");
}

TEST(BenchPage, ShowsEveryPart) {
  const std::string page = report::bench::render(
      read(whole_bench() + peer_line("fast", "layer", 80) + peer_line("block", "dense", 10)));
  for (const char* part :
       {"A CPU", "2 threads", "100 GFLOP/s", "400 GOP/s", "10 GB/s", "Roofline", "2.50 ×", "2.00 ×",
        "80.0 fast", "0.50 ×", "4.00 ×", "zipf, busiest 25.0 %", "75 %"})
    EXPECT_PRED2(contains, page, part);
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST(BenchPage, StandsWithoutRowsAndSaysWhatWasSkipped) {
  EXPECT_PRED2(contains, report::bench::render(read(bench_head())), "nothing to draw");
  const std::string skipped = R"({"group":"table","tokens":1,"d_model":1,"d_ff":1,"experts":1,)"
                              R"("top_k":1,"mode":"train","dtype":"float32","routing":"learned",)"
                              R"("skipped":"wants <b>memory</b>"})"
                              "\n";
  EXPECT_PRED2(contains, report::bench::render(read(bench_head() + skipped)),
               "not run: wants &lt;b&gt;memory");
}

TEST(BenchPage, HostileTextIsText) {
  auto results = read(whole_bench() + peer_line("fast", "layer", 80));
  results.head.cpu = results.head.date = results.head.version = kHostile;
  for (auto& row : results.rows) row.instruction_set = kHostile;
  results.rows[0].work.dtype = results.rows[0].work.mode = results.rows[0].work.routing = kHostile;
  results.peers[0].peer = kHostile;
  results.peers[0].work = results.rows[0].work;
  EXPECT_EQ(report::bench::render(results).find(kHostile), std::string::npos);
}

}  // namespace
}  // namespace moe::test
