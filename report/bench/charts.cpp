// The pictures of a bench page.
#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/base/text.h>
#include <report/bench/page.h>
#include <report/chart.h>
#include <report/html.h>

namespace moe::report::bench {

namespace {

using report::Axis;
using report::Chart;
using report::Line;
using report::Point;

std::string css_of(const std::string& dtype) {
  return dtype == "bfloat16" ? "bf16" : "f32";
}

double intensity(const BenchRow& row) {
  return row.flops / row.moved_bytes;
}

/// A limit at every place in [low, high], so that the readout of any point names it.
template <class Value>
Line limit(const std::string& name, const std::string& label, const std::string& css, double low,
           double high, std::vector<double> places, const Value& value) {
  places.insert(places.end(), {low, high});
  std::erase_if(places, [&](double x) { return x < low || x > high; });
  std::ranges::sort(places);
  Line line{name, label, css + " roof", {}, false};
  for (const double x : places) line.points.push_back({x, value(x)});
  return line;
}

}  // namespace

std::string roofline(const BenchResults& results) {
  Chart chart;
  chart.axis = Axis::kIntensity;
  chart.log_x = chart.log_y = true;
  chart.width = 960;
  chart.height = 420;
  chart.right = 132;
  chart.description =
      "GFLOP/s of every row against its FLOP per byte of weights that must move, below the limits "
      "of the machine.";
  std::vector<double> places;
  std::vector<Line> points;
  int number = 0;
  for (const auto& row : results.rows) {
    if (row.group != "table" || !row.skipped.empty()) continue;
    ++number;
    const double x = intensity(row);
    if (!std::isfinite(x) || x <= 0) continue;
    places.push_back(x);
    const auto& w = row.work;
    points.push_back(
        {concat(number, ". ", w.tokens, " × ", w.d_model, " × ", w.d_ff, ", ", w.experts, " / ",
                w.top_k, ", ", w.mode, ", ", w.dtype),
         std::to_string(number),
         concat(css_of(w.dtype), " points bench ", w.mode == "forward" ? "forward" : "train-step"),
         {{x, row.gflops}},
         true});
  }
  const auto& head = results.head;
  if (points.empty() || head.read <= 0) return "";
  const double most = std::max({head.float32, head.bfloat16, head.int8});
  const auto [least, highest] = std::ranges::minmax(places);
  const double low = std::min(least / 2, head.float32 / head.read / 4);
  const double high = 3 * std::max(highest, most / head.read);
  chart.lines.push_back(limit("memory", "", "memory", low, most / head.read, places,
                              [&](double x) { return head.read * x; }));
  const auto add_peak = [&](const char* name, const char* css, double peak) {
    if (peak > 0)
      chart.lines.push_back(limit(concat("limit of ", name),
                                  concat(name, ' ', report::compact(peak)), css, peak / head.read,
                                  high, places, [&](double) { return peak; }));
  };
  add_peak("float32", "f32", head.float32);
  add_peak("bfloat16", "bf16", head.bfloat16);
  add_peak("int8", "i8", head.int8);
  chart.lines.insert(chart.lines.end(), points.begin(), points.end());
  return report::draw(chart);
}

std::string scaling(const BenchResults& results, Scaling what) {
  const bool is_ratio = what == Scaling::kOverDense;
  Chart chart;
  chart.axis = Axis::kExperts;
  chart.log_x = chart.log_y = true;
  chart.width = 460;
  chart.height = 300;
  chart.right = 76;
  chart.description = is_ratio
                          ? "Time of the layer over that of its dense block against the number "
                            "of experts."
                          : "Tokens a second against the number of experts.";
  if (is_ratio) chart.reference = 1;
  for (const char* dtype : {"float32", "bfloat16"}) {
    Line line{dtype, dtype, css_of(dtype) + " bench", {}, true};
    for (const auto& row : results.rows) {
      if (row.group != "scaling" || !row.skipped.empty() || row.work.dtype != dtype) continue;
      const double value =
          is_ratio ? row.ms / row.dense_ms : 1e3 * static_cast<double>(row.work.tokens) / row.ms;
      line.points.push_back({static_cast<double>(row.work.experts), value});
    }
    std::ranges::stable_sort(line.points, {}, &Point::x);
    chart.lines.push_back(std::move(line));
  }
  return report::draw(chart);
}

}  // namespace moe::report::bench
