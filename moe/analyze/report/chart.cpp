#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <moe/analyze/report/chart.h>
#include <moe/analyze/report/html.h>
#include <moe/base/error.h>
#include <moe/base/text.h>

namespace moe::analyze::report {

namespace {

constexpr double kLeft = 44, kTop = 10, kBottom = 26;
constexpr double kLabelHeight = 15;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

std::string exact(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

/// Where values stand in the picture.
struct Scale {
  Range x, y;
  double width, height, right;

  double left_of(double value) const {
    return kLeft + (value - x.low) / (x.high - x.low) * (width - kLeft - right);
  }
  double top_of(double value) const {
    return kTop + (y.high - value) / (y.high - y.low) * (height - kTop - kBottom);
  }
};

void widen(Range& range, double share) {
  const double size = range.high - range.low;
  const double margin = size > 0 ? share * size : std::max(1e-3, 0.05 * std::abs(range.high));
  range.low -= margin;
  range.high += margin;
}

Scale scale_of(const Chart& chart, const std::vector<Line>& lines) {
  Scale scale{{}, {}, chart.width, chart.height, chart.right};
  for (const auto& line : lines)
    for (const auto& point : line.points) scale.x.add(point.x);
  if (scale.x.low == scale.x.high) widen(scale.x, 0);
  const double settled = scale.x.low + chart.settled * (scale.x.high - scale.x.low);
  for (const auto& line : lines)
    for (const auto& point : line.points)
      if (point.x >= settled) scale.y.add(point.y);
  for (const double value : chart.show_y) scale.y.add(value);
  if (chart.reference) scale.y.add(*chart.reference);
  widen(scale.y, 0.04);
  return scale;
}

std::string x_text(Axis axis, double value) {
  return axis == Axis::kTime ? clock_text(value) : compact(value);
}

std::string text_at(double x, double y, const char* anchor, std::string_view css,
                    const std::string& text) {
  return concat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor,
                "\" class=\"", css, "\">", escaped(text), "</text>");
}

std::string axes(const Chart& chart, const Scale& scale) {
  std::string out = "<g class=\"grid\">";
  const double right = scale.width - scale.right, bottom = scale.height - kBottom;
  for (const double value : ticks(scale.y.low, scale.y.high, chart.height > 250 ? 6 : 4)) {
    const double y = scale.top_of(value);
    out += concat("<path d=\"M", coordinate(kLeft), ' ', coordinate(y), 'H', coordinate(right),
                  "\"/>", text_at(kLeft - 6, y + 4, "end", "tick", short_number(value)));
  }
  const int count = chart.width > 600 ? 8 : 4;
  const auto marks = chart.axis == Axis::kTime ? time_ticks(scale.x.low, scale.x.high, count)
                                               : ticks(scale.x.low, scale.x.high, count);
  for (const double value : marks)
    out += text_at(scale.left_of(value), bottom + 18, "middle", "tick", x_text(chart.axis, value));
  out += text_at(right + 24, bottom + 18, "start", "tick", axis_name(chart.axis));
  out += concat("<path class=\"axis\" d=\"M", coordinate(kLeft), ' ', coordinate(bottom), 'H',
                coordinate(right), "\"/></g>");
  if (chart.reference)
    out += concat("<path class=\"reference\" d=\"M", coordinate(kLeft), ' ',
                  coordinate(scale.top_of(*chart.reference)), 'H', coordinate(right), "\"/>");
  return out;
}

std::string path_of(const Line& line, const Scale& scale) {
  std::string d, values;
  for (const auto& [x, y] : line.points) {
    d += concat(d.empty() ? "M" : "L", coordinate(scale.left_of(x)), ' ',
                coordinate(scale.top_of(y)));
    values += concat(values.empty() ? "" : " ", exact(x, 10), ':', exact(y, 5));
  }
  std::string out = concat("<path class=\"line ", line.css, "\" data-name=\"", escaped(line.name),
                           "\" data-v=\"", values, "\" d=\"", d, "\"/>");
  if (!line.dots) return out;
  for (const auto& [x, y] : line.points)
    out += concat("<circle class=\"dot ", line.css, "\" cx=\"", coordinate(scale.left_of(x)),
                  "\" cy=\"", coordinate(scale.top_of(y)), "\" r=\"3\"/>");
  return out;
}

/// Labels at the ends of their lines, moved apart where they would touch.
std::string labels(const std::vector<Line>& lines, const Scale& scale) {
  struct Place {
    const Line* line;
    double top;
  };
  std::vector<Place> places;
  const double highest = kTop + 4, lowest = scale.height - kBottom;
  for (const auto& line : lines)
    if (!line.label.empty())
      places.push_back({&line, std::clamp(scale.top_of(line.points.back().y), highest, lowest)});
  std::ranges::stable_sort(places, {}, &Place::top);
  for (size_t i = 1; i < places.size(); ++i)
    places[i].top = std::max(places[i].top, places[i - 1].top + kLabelHeight);
  double limit = lowest;
  for (size_t i = places.size(); i-- > 0; limit = places[i].top - kLabelHeight)
    places[i].top = std::min(places[i].top, limit);
  std::string out;
  for (const auto& [line, top] : places)
    out += text_at(scale.left_of(line->points.back().x) + 8, top + 4, "start", "label " + line->css,
                   line->label);
  return out;
}

}  // namespace

std::string axis_name(Axis axis) {
  switch (axis) {
    case Axis::kSteps:
      return "step";
    case Axis::kTokens:
      return "tokens";
    case Axis::kTime:
      return "time";
  }
  return "";
}

std::string draw(const Chart& chart) {
  std::vector<Line> lines;
  for (Line line : chart.lines) {
    line.points = thinned(line.points, chart.most_points);
    if (!line.points.empty()) lines.push_back(std::move(line));
  }
  if (lines.empty()) return "";
  const Scale scale = scale_of(chart, lines);
  std::string out = concat(
      "<svg class=\"chart\" viewBox=\"0 0 ", coordinate(chart.width), ' ', coordinate(chart.height),
      "\" role=\"img\" tabindex=\"0\" aria-label=\"", escaped(chart.description), "\" data-axis=\"",
      axis_name(chart.axis), "\" data-plot=\"", coordinate(kLeft), ' ', coordinate(kTop), ' ',
      coordinate(chart.width - chart.right), ' ', coordinate(chart.height - kBottom),
      "\" data-range=\"", exact(scale.x.low, 10), ' ', exact(scale.x.high, 10), ' ',
      exact(scale.y.low, 10), ' ', exact(scale.y.high, 10), "\">", axes(chart, scale));
  // A nested <svg> cuts off what leaves the plot without an id, which a page could hold twice.
  const double width = chart.width - chart.right - kLeft + 8;
  const double height = chart.height - kTop - kBottom;
  out += concat("<svg x=\"", coordinate(kLeft - 4), "\" y=\"", coordinate(kTop), "\" width=\"",
                coordinate(width), "\" height=\"", coordinate(height), "\" viewBox=\"",
                coordinate(kLeft - 4), ' ', coordinate(kTop), ' ', coordinate(width), ' ',
                coordinate(height), "\">");
  for (const auto& line : lines) out += path_of(line, scale);
  return out + "</svg>" + labels(lines, scale) + "</svg>\n";
}

}  // namespace moe::analyze::report
