// The pictures of a study's page.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <moe/base/error.h>
#include <report/chart.h>
#include <report/html.h>
#include <report/study/page.h>

namespace moe::report::study {

namespace {

using moe::study::RowSummary;

constexpr size_t kColours = 8;
constexpr double kCellWidth = 150, kCellHeight = 18;

/// Rows in colours by their place in `order`, the others faint and behind them.
Chart curves_of(const std::vector<const RowSummary*>& order,
                const std::function<std::vector<Point>(const RowSummary&)>& points) {
  Chart chart;
  chart.width = 960;
  chart.height = 380;
  chart.right = 170;
  for (size_t i = order.size(); i-- > 0;) {
    const bool named = i < kColours;
    chart.lines.push_back({order[i]->name, named ? order[i]->name : "",
                           named ? concat("study s", i) : "study faint", points(*order[i]), false});
  }
  return chart;
}

}  // namespace

std::string loss_curves(const moe::study::StudySummary& summary, const std::string& group) {
  std::vector<const RowSummary*> order;
  for (const auto* row : summary.rows_of(group))
    if (row->losses.size() > 1) order.push_back(row);
  if (order.empty()) return "";
  Chart chart = curves_of(order, [](const RowSummary& row) {
    std::vector<Point> out;
    for (const auto& point : row.losses)
      out.push_back({static_cast<double>(point.step), point.loss});
    return out;
  });
  chart.description = "Held-out loss of every row against the step, mean over seeds.";
  chart.settled = 0.25;
  return draw(chart);
}

std::string load_curves(const moe::study::StudySummary& summary, const std::string& group) {
  std::vector<const RowSummary*> order;
  for (const auto* row : summary.rows_of(group))
    if (row->crowding.size() > 1) order.push_back(row);
  if (order.empty()) return "";
  const auto late = [](const RowSummary* row) {
    const auto step = moe::study::even_from(row->crowding);
    return step < 0 ? std::numeric_limits<int64_t>::max() : step;
  };
  std::ranges::stable_sort(order, [&](const auto* a, const auto* b) { return late(a) < late(b); });
  Chart chart = curves_of(order, [](const RowSummary& row) {
    std::vector<Point> out;
    for (const auto& point : row.crowding)
      out.push_back({static_cast<double>(point.step), point.max_over_mean});
    return out;
  });
  chart.description = "Load of the busiest expert over the mean against the step, mean over seeds.";
  chart.reference = moe::study::kEven;
  chart.show_y = {1};
  return draw(chart);
}

std::string whiskers(const moe::study::Figure& figure, double low, double high) {
  if (!std::isfinite(figure.mean) || !(high > low)) return "";
  const auto x = [&](double value) {
    return coordinate(4 + (kCellWidth - 8) * std::clamp((value - low) / (high - low), 0.0, 1.0));
  };
  const double half = std::isfinite(figure.half_width) ? figure.half_width : 0;
  const std::string y = coordinate(kCellHeight / 2);
  return concat("<svg class=\"whiskers\" viewBox=\"0 0 ", coordinate(kCellWidth), ' ',
                coordinate(kCellHeight), "\" aria-hidden=\"true\"><path d=\"M",
                x(figure.mean - half), ' ', y, 'H', x(figure.mean + half), "\"/><circle cx=\"",
                x(figure.mean), "\" cy=\"", y, "\" r=\"3.5\"/></svg>");
}

std::string load_bars(const std::vector<std::vector<double>>& loads) {
  constexpr double kGap = 6, kBar = 5;
  double most = 0, x = 0;
  for (const auto& layer : loads)
    for (const double load : layer) most = std::max(most, load * static_cast<double>(layer.size()));
  if (!(most > 0)) return "";
  most = std::max(most, 2.0);
  std::string bars;
  for (const auto& layer : loads) {
    // Of many experts the first, evenly chosen: a bar stands for its share of them.
    const size_t shown = std::min<size_t>(layer.size(), 16);
    for (size_t i = 0; i < shown; ++i) {
      const double load = layer[i * layer.size() / shown] * static_cast<double>(layer.size());
      const double height = kCellHeight * load / most;
      bars += concat('M', coordinate(x), ' ', coordinate(kCellHeight), 'v', coordinate(-height),
                     'h', coordinate(kBar - 1), 'v', coordinate(height), 'z');
      x += kBar;
    }
    x += kGap;
  }
  const double width = std::max(x - kGap, 1.0);
  return concat("<svg class=\"loads\" style=\"width:", coordinate(width), "px\" viewBox=\"0 0 ",
                coordinate(width), ' ', coordinate(kCellHeight),
                "\" aria-hidden=\"true\"><path d=\"", bars, "\"/><path class=\"reference\" d=\"M0 ",
                coordinate(kCellHeight * (1 - 1 / most)), 'H', coordinate(width), "\"/></svg>");
}

}  // namespace moe::report::study
