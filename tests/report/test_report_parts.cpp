// The parts that a report is drawn with: text, series, pictures, charts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <png.h>
#include <regex>
#include <sstream>

#include <gtest/gtest.h>

#include <report/chart.h>
#include <report/heat_map.h>
#include <report/html.h>
#include <report/passages.h>
#include <report/png.h>

#include "tests/report/report_fixture.h"
#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using report::Point;

TEST(ReportHtml, TextIsEscapedAndMadeUtf8) {
  EXPECT_EQ(report::escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(report::escaped("\x01\x7F\t\n"), "\xE2\x90\x81\xE2\x90\xA1\t\n");
  EXPECT_EQ(report::escaped("\xFFé\xC3"), "\xEF\xBF\xBDé\xEF\xBF\xBD");
  const std::string hostile = report::escaped(kHostile);
  EXPECT_EQ(hostile.find_first_of("<>\"'"), std::string::npos);
}

TEST(ReportHtml, JsonCannotEndItsElement) {
  EXPECT_EQ(report::escaped_json("{\"a\": \"</script>\"}"), "{\"a\": \"\\u003c/script>\"}");
}

TEST(ReportHtml, NumbersReadWell) {
  EXPECT_EQ(report::fixed(-1.25, 1), "−1.2");
  EXPECT_EQ(report::fixed(std::nan(""), 3), "–");
  EXPECT_EQ(report::short_number(12), "12");
  EXPECT_EQ(report::short_number(0.012345), "0.01235");
  EXPECT_EQ(report::compact(999), "999");
  EXPECT_EQ(report::compact(2485.4), "2,485");
  EXPECT_EQ(report::compact(307200), "307 k");
  EXPECT_EQ(report::compact(999900), "1 M");
  EXPECT_EQ(report::compact(2.5e9), "2.5 G");
  EXPECT_EQ(report::percent(0.125), "12.5 %");
  EXPECT_EQ(report::signed_number(0.5, 1), "+0.5");
  EXPECT_EQ(report::signed_number(-0.5, 1), "−0.5");
  EXPECT_EQ(report::coordinate(-0.01), "0");
  EXPECT_EQ(report::plural(1, "step"), "1 step");
  EXPECT_EQ(report::plural(1200, "step"), "1,200 steps");
}

TEST(ReportSeries, ThinningKeepsEndsAndSpikes) {
  std::vector<Point> points;
  for (int i = 0; i < 10000; ++i) points.push_back({double(i), std::sin(i * 0.01)});
  points[5000].y = 50;
  points[6000].y = -50;
  points[7000].y = std::numeric_limits<double>::infinity();
  const auto thin = report::thinned(points, 200);
  EXPECT_LE(thin.size(), 200u);
  EXPECT_GE(thin.size(), 150u);
  EXPECT_EQ(thin.front().x, 0);
  EXPECT_EQ(thin.back().x, 9999);
  const auto has = [&](double y) { return std::ranges::find(thin, y, &Point::y) != thin.end(); };
  EXPECT_TRUE(has(50));
  EXPECT_TRUE(has(-50));
  EXPECT_TRUE(std::ranges::is_sorted(thin, {}, &Point::x));
  EXPECT_EQ(report::thinned({{1, 2}, {2, std::nan("")}}, 10).size(), 1u);
}

TEST(ReportSeries, StretchesCoverEverythingOnce) {
  for (const size_t count : {0u, 1u, 7u, 120u, 121u, 5000u}) {
    size_t next = 0;
    const auto parts = report::stretches(count, 120);
    for (const auto& [begin, end] : parts) {
      EXPECT_EQ(begin, next);
      EXPECT_LT(begin, end);
      next = end;
    }
    EXPECT_EQ(next, count);
    EXPECT_EQ(parts.size(), std::min<size_t>(count, 120));
  }
}

TEST(ReportSeries, TicksAreRound) {
  EXPECT_EQ(report::ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(report::ticks(3, 3, 5), (std::vector<double>{3}));
  EXPECT_EQ(report::time_ticks(0, 170, 4), (std::vector<double>{0, 60, 120}));
  for (const double high : {1e-9, 0.3, 17.0, 1e15}) {
    const auto found = report::ticks(0, high, 5);
    EXPECT_GE(found.size(), 2u) << high;
    EXPECT_LE(found.size(), 8u) << high;
  }
}

TEST(ReportSeries, LogTicksAreRoundFactors) {
  EXPECT_EQ(report::log_ticks(1, 100, 10, 8), (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(report::log_ticks(0.05, 2000, 10, 5), (std::vector<double>{0.1, 1, 10, 100, 1000}));
  EXPECT_EQ(report::log_ticks(1, 4096, 2, 4), (std::vector<double>{1, 8, 64, 512, 4096}));
  EXPECT_EQ(report::log_ticks(3, 3, 10, 4), (std::vector<double>{3}));
  EXPECT_EQ(report::log_ticks(0, 3, 10, 4), (std::vector<double>{0}));
  for (const double high : {1.1, 1e3, 1e30, 1e300})
    EXPECT_LE(report::log_ticks(1, high, 10, 4).size(), 5u) << high;
}

std::string attribute(const std::string& html, const std::string& name) {
  std::smatch found;
  return std::regex_search(html, found, std::regex(name + "=\"([^\"]*)\"")) ? found[1].str() : "";
}

TEST(ReportChart, PathAndValuesAreThePoints) {
  report::Chart chart;
  chart.lines = {{"a", "a", "moe", {{0, 1}, {50, 3}, {100, 2}}, false}};
  const std::string svg = report::draw(chart);
  EXPECT_EQ(attribute(svg, "data-v"), "0:1 50:3 100:2");
  double left, top, right, bottom, x_low, x_high, y_low, y_high;
  std::istringstream(attribute(svg, "data-plot")) >> left >> top >> right >> bottom;
  std::istringstream(attribute(svg, "data-range")) >> x_low >> x_high >> y_low >> y_high;
  // Back from the picture to the numbers.
  std::string d = attribute(svg.substr(svg.find("class=\"line")), " d");
  std::ranges::replace_if(
      d, [](char c) { return c == 'M' || c == 'L'; }, ' ');
  std::istringstream path(d);
  for (const auto& [x, y] : chart.lines[0].points) {
    double px = 0, py = 0;
    path >> px >> py;
    EXPECT_NEAR(x_low + (px - left) / (right - left) * (x_high - x_low), x, 0.1);
    EXPECT_NEAR(y_high - (py - top) / (bottom - top) * (y_high - y_low), y, 0.01);
  }
}

TEST(ReportChart, NothingToDrawIsNothingDrawn) {
  report::Chart chart;
  EXPECT_EQ(report::draw(chart), "");
  chart.lines = {{"a", "", "", {{1, std::nan("")}}, false}};
  EXPECT_EQ(report::draw(chart), "");
  chart.lines = {{"a", "", "", {{1, 2}}, true}};  // one point is drawn, without dividing by zero
  EXPECT_EQ(report::draw(chart).find("nan"), std::string::npos);
}

TEST(ReportChart, LogarithmicAxesHaveEqualFactorsEquallyFarApart) {
  report::Chart chart;
  chart.log_x = chart.log_y = true;
  chart.lines = {{"a", "", "", {{0, 1}, {1, 1}, {10, 10}, {100, 100}, {1000, -1}}, true}};
  const std::string svg = report::draw(chart);
  EXPECT_EQ(attribute(svg, "data-v"), "1:1 10:10 100:100");  // without what has no logarithm
  EXPECT_PRED2(contains, svg, "data-log-x");
  std::vector<double> xs, ys;
  const std::regex circle("cx=\"([^\"]*)\" cy=\"([^\"]*)\"");
  for (std::sregex_iterator i(svg.begin(), svg.end(), circle), end; i != end; ++i) {
    xs.push_back(std::stod((*i)[1]));
    ys.push_back(std::stod((*i)[2]));
  }
  ASSERT_EQ(xs.size(), 3u);
  EXPECT_NEAR(xs[1] - xs[0], xs[2] - xs[1], 0.2);
  EXPECT_NEAR(ys[1] - ys[0], ys[2] - ys[1], 0.2);
}

TEST(ReportChart, LabelsFarApartStayAtTheirPoints) {
  report::Chart chart;
  chart.lines = {{"a", "1", "", {{0, 1}}, true}, {"b", "2", "", {{1, 1}}, true}};
  const std::string svg = report::draw(chart);
  std::vector<std::string> tops;
  const std::regex label("y=\"([^\"]*)\" text-anchor=\"start\" class=\"label");
  for (std::sregex_iterator i(svg.begin(), svg.end(), label), end; i != end; ++i)
    tops.push_back((*i)[1]);
  ASSERT_EQ(tops.size(), 2u);
  EXPECT_EQ(tops[0], tops[1]);
}

TEST(ReportChart, LabelsDoNotTouch) {
  report::Chart chart;
  for (int i = 0; i < 6; ++i) chart.lines.push_back({"a", "a", "", {{0, 1}, {1, 1.0}}, false});
  const std::string svg = report::draw(chart);
  std::vector<double> tops;
  const std::regex label("<text x=\"[^\"]*\" y=\"([^\"]*)\" text-anchor=\"start\" class=\"label");
  for (std::sregex_iterator i(svg.begin(), svg.end(), label), end; i != end; ++i)
    tops.push_back(std::stod((*i)[1]));
  ASSERT_EQ(tops.size(), 6u);
  for (size_t i = 1; i < tops.size(); ++i) EXPECT_GE(tops[i] - tops[i - 1], 14.9);
  EXPECT_LE(tops.back(), chart.height);
}

TEST(ReportPng, HoldsItsPixels) {
  const std::vector<uint8_t> pixels = {0, 1, 2, 2, 1, 0};
  const std::string bytes =
      report::png(3, 2, pixels, {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}});
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
  ASSERT_EQ(image.width, 3u);
  ASSERT_EQ(image.height, 2u);
  image.format = PNG_FORMAT_RGBA;
  std::vector<uint8_t> read(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, read.data(), 0, nullptr), 0);
  EXPECT_EQ(read, (std::vector<uint8_t>{1, 2,  3,  4,  5, 6, 7, 8, 9, 10, 11, 12,  //
                                        9, 10, 11, 12, 5, 6, 7, 8, 1, 2,  3,  4}));
  EXPECT_ERROR(report::png(3, 2, std::vector<uint8_t>{0, 1, 2, 3, 1, 0}, {{}, {}}), "among them");
  EXPECT_ERROR(report::png(0, 0, {}, {{}}), "[1, 65535]");
}

TEST(ReportPng, UrlIsBase64) {
  EXPECT_EQ(report::png_url("Man"), "data:image/png;base64,TWFu");
  EXPECT_EQ(report::png_url("Ma"), "data:image/png;base64,TWE=");
  EXPECT_EQ(report::png_url("M"), "data:image/png;base64,TQ==");
}

TEST(ReportHeatMap, LevelsAreLogarithmic) {
  EXPECT_EQ(report::heat_level(1), 7);
  EXPECT_EQ(report::heat_level(2), 10);
  EXPECT_EQ(report::heat_level(0.5), 4);
  EXPECT_EQ(report::heat_level(100), 13);
  EXPECT_EQ(report::heat_level(1e-9), 1);
  EXPECT_EQ(report::heat_level(0), 0);
  EXPECT_EQ(report::heat_level(std::nan("")), -1);
}

TEST(ReportHeatMap, ColumnsAreMeansOfTheLog) {
  auto log = made_up_log(4, 2, 4);
  log.steps[0].layers[1].load_E = {0.5, 0.5, 0, 0};
  log.steps[1].layers[1].load_E = {0.25, 0.25, 0.5, 0};
  const std::string svg = report::load_map(log, 1, 2);
  EXPECT_EQ(attribute(svg, "data-steps"), "20 40");
  // (0.5 + 0.25) / 2 * 4 = 1.5, …; then twice the even share, nothing, even, even.
  EXPECT_EQ(attribute(svg, "data-ratio"), "150 200;150 0;100 100;0 100");
  EXPECT_EQ(report::load_map(log, 2, 2), "");
  EXPECT_EQ(report::load_map({}, 0, 2), "");
}

TEST(ReportPassages, CharactersStandWithTheirFirstToken) {
  const data::ByteTokenizer bytes;
  EXPECT_EQ(report::texts_of(bytes, bytes.encode("aş\xFF"
                                                 "b")),
            (std::vector<std::string>{"a", "ş", "", "\xEF\xBF\xBD", "b"}));
  EXPECT_EQ(report::texts_of(bytes, bytes.encode("a\xC5")),
            (std::vector<std::string>{"a", "\xEF\xBF\xBD"}));
}

}  // namespace
}  // namespace moe::test
