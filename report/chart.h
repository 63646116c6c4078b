#pragma once
// Line charts as SVG.

#include <optional>
#include <string>
#include <vector>

#include <report/series.h>

namespace moe::report {

struct Line {
  /// For the readout: "MoE, training".
  std::string name;
  /// At the end of the line; "" for none.
  std::string label;
  /// Classes that give it its colour and width, from report.css.
  std::string css;
  std::vector<Point> points;
  bool dots = false;
};

/// What runs along x.
enum class Axis { kSteps, kTokens, kTime, kExperts, kIntensity };

struct Chart {
  /// What the chart shows, in a sentence, for those who cannot see it.
  std::string description;
  std::vector<Line> lines;
  Axis axis = Axis::kSteps;
  /// Written at the axis instead of its name.
  std::string axis_label = {};
  /// Equal factors are equally far apart; points that are not above 0 are left out.
  bool log_x = false, log_y = false;
  double width = 340, height = 170;
  /// Room for labels right of the lines.
  double right = 62;
  /// Points per line, at most about.
  size_t most_points = 400;
  /// The range of y is that of the points behind this share of x: what comes before is often much
  /// higher and is cut off.
  double settled = 0;
  /// Values that the range of y holds in any case.
  std::vector<double> show_y = {};
  /// A dashed line across at this value.
  std::optional<double> reference = std::nullopt;
};

/// The chart as one <svg>; "" when no line has two points to join, or one to mark. Each line is a
/// path whose data-v holds the values drawn, "x:y" and spaces between, for the readout.
std::string draw(const Chart& chart);

/// "step", "tokens", "time", "experts", "FLOP a byte".
std::string axis_name(Axis axis);

}  // namespace moe::report
