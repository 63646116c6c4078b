#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <moe/base/error.h>
#include <moe/base/text.h>
#include <report/chart.h>
#include <report/html.h>

namespace moe::report {

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

/// Where values stand in the picture. The ranges are those of the logarithms where an axis is
/// logarithmic.
struct Scale {
  Range x, y;
  double width, height, right;
  bool log_x, log_y;

  double along_x(double value) const { return log_x ? std::log10(value) : value; }
  double along_y(double value) const { return log_y ? std::log10(value) : value; }
  Range values_x() const { return values(x, log_x); }
  Range values_y() const { return values(y, log_y); }

  double left_of(double value) const {
    return kLeft + (along_x(value) - x.low) / (x.high - x.low) * (width - kLeft - right);
  }
  double top_of(double value) const {
    return kTop + (y.high - along_y(value)) / (y.high - y.low) * (height - kTop - kBottom);
  }

 private:
  static Range values(const Range& range, bool log) {
    return log ? Range{std::pow(10, range.low), std::pow(10, range.high)} : range;
  }
};

void widen(Range& range, double share) {
  const double size = range.high - range.low;
  const double margin = size > 0 ? share * size : std::max(1e-3, 0.05 * std::abs(range.high));
  range.low -= margin;
  range.high += margin;
}

Scale scale_of(const Chart& chart, const std::vector<Line>& lines) {
  Scale scale{{}, {}, chart.width, chart.height, chart.right, chart.log_x, chart.log_y};
  for (const auto& line : lines)
    for (const auto& point : line.points) scale.x.add(scale.along_x(point.x));
  if (scale.x.low == scale.x.high) widen(scale.x, 0);
  const double settled = scale.x.low + chart.settled * (scale.x.high - scale.x.low);
  for (const auto& line : lines)
    for (const auto& point : line.points)
      if (scale.along_x(point.x) >= settled) scale.y.add(scale.along_y(point.y));
  for (const double value : chart.show_y) scale.y.add(scale.along_y(value));
  if (chart.reference) scale.y.add(scale.along_y(*chart.reference));
  widen(scale.y, 0.04);
  return scale;
}

std::vector<double> x_marks(const Chart& chart, const Scale& scale) {
  const int count = chart.width > 600 ? 8 : 4;
  const auto [low, high] = scale.values_x();
  if (chart.log_x) return log_ticks(low, high, chart.axis == Axis::kExperts ? 2 : 10, count);
  return chart.axis == Axis::kTime ? time_ticks(low, high, count) : ticks(low, high, count);
}

std::vector<double> y_marks(const Chart& chart, const Scale& scale) {
  const int count = chart.height > 250 ? 6 : 4;
  const auto [low, high] = scale.values_y();
  return chart.log_y ? log_ticks(low, high, 10, count) : ticks(low, high, count);
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
  for (const double value : y_marks(chart, scale)) {
    const double y = scale.top_of(value);
    out +=
        concat("<path d=\"M", coordinate(kLeft), ' ', coordinate(y), 'H', coordinate(right), "\"/>",
               text_at(kLeft - 6, y + 4, "end", "tick",
                       chart.log_y ? compact(value) : short_number(value)));
  }
  for (const double value : x_marks(chart, scale))
    out += text_at(scale.left_of(value), bottom + 18, "middle", "tick", x_text(chart.axis, value));
  out += text_at(right + 24, bottom + 18, "start", "tick",
                 chart.axis_label.empty() ? axis_name(chart.axis) : chart.axis_label);
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
  constexpr double kCharacter = 7;  // about, at the size that report.css gives
  struct Place {
    const Line* line;
    double left, right, top;

    bool beside(const Place& other) const { return left < other.right && other.left < right; }
  };
  std::vector<Place> places;
  const double highest = kTop + 4, lowest = scale.height - kBottom;
  for (const auto& line : lines) {
    if (line.label.empty()) continue;
    const double left = scale.left_of(line.points.back().x) + 8;
    places.push_back({&line, left, left + kCharacter * static_cast<double>(line.label.size()) + 6,
                      std::clamp(scale.top_of(line.points.back().y), highest, lowest)});
  }
  std::ranges::stable_sort(places, {}, &Place::top);
  for (size_t i = 1; i < places.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (places[i].beside(places[j]))
        places[i].top = std::max(places[i].top, places[j].top + kLabelHeight);
  for (size_t i = places.size(); i-- > 0;) {
    places[i].top = std::min(places[i].top, lowest);
    for (size_t j = i + 1; j < places.size(); ++j)
      if (places[i].beside(places[j]))
        places[i].top = std::min(places[i].top, places[j].top - kLabelHeight);
  }
  std::string out;
  for (const auto& place : places)
    out +=
        text_at(place.left, place.top + 4, "start", "label " + place.line->css, place.line->label);
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
    case Axis::kExperts:
      return "experts";
    case Axis::kIntensity:
      return "FLOP a byte";
  }
  return "";
}

std::string draw(const Chart& chart) {
  std::vector<Line> lines;
  for (Line line : chart.lines) {
    std::erase_if(line.points, [&](const Point& point) {
      return (chart.log_x && !(point.x > 0)) || (chart.log_y && !(point.y > 0));
    });
    line.points = thinned(line.points, chart.most_points);
    if (!line.points.empty()) lines.push_back(std::move(line));
  }
  if (lines.empty()) return "";
  const Scale scale = scale_of(chart, lines);
  const Range x = scale.values_x(), y = scale.values_y();
  std::string out = concat(
      "<svg class=\"chart\" viewBox=\"0 0 ", coordinate(chart.width), ' ', coordinate(chart.height),
      "\" role=\"img\" tabindex=\"0\" aria-label=\"", escaped(chart.description), "\" data-axis=\"",
      axis_name(chart.axis), "\" data-plot=\"", coordinate(kLeft), ' ', coordinate(kTop), ' ',
      coordinate(chart.width - chart.right), ' ', coordinate(chart.height - kBottom),
      "\" data-range=\"", exact(x.low, 10), ' ', exact(x.high, 10), ' ', exact(y.low, 10), ' ',
      exact(y.high, 10), chart.log_x ? "\" data-log-x=\"" : "", "\">", axes(chart, scale));
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

}  // namespace moe::report
