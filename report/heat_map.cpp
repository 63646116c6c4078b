// E experts, C columns.
#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <report/heat_map.h>
#include <report/html.h>
#include <report/png.h>
#include <report/series.h>

namespace moe::report {

namespace {

constexpr size_t kCellsOfMaps = 80000;
constexpr double kMapWidth = 960, kMapLeft = 44, kMapRight = 76, kMapTop = 4;

/// The colours of report.css' .h0 … .h13, over whatever the page's background is.
std::vector<Colour> heat_palette() {
  std::vector<Colour> out = {{128, 128, 128, 255}};
  for (int level = 1; level < kHeatLevels; ++level) {
    const double strength = std::abs(level - 7) / 6.0;
    const auto alpha = static_cast<uint8_t>(std::lround(235 * std::pow(strength, 0.85)));
    out.push_back(level > 7 ? Colour{224, 107, 15, alpha} : Colour{20, 125, 195, alpha});
  }
  out.push_back({0, 0, 0, 0});  // not known
  return out;
}

/// Load times E of each expert, the mean over a stretch.
std::vector<double> ratios_of(const analyze::RunLog& log, size_t index, const Stretch& stretch,
                              size_t E) {
  std::vector<double> sum_E(E, 0);
  size_t seen = 0;
  for (size_t i = stretch.begin; i < stretch.end; ++i) {
    const auto& layers = log.steps[i].layers;
    if (index >= layers.size() || layers[index].load_E.size() != E) continue;
    ++seen;
    for (size_t e = 0; e < E; ++e) sum_E[e] += layers[index].load_E[e];
  }
  for (double& value : sum_E) value *= static_cast<double>(E) / static_cast<double>(seen);
  return sum_E;
}

size_t experts_of(const analyze::RunLog& log, size_t index) {
  for (const auto& step : log.steps)
    if (index < step.layers.size()) return step.layers[index].load_E.size();
  return 0;
}

std::string svg_text(double x, double y, const char* css, const char* anchor,
                     const std::string& text) {
  return concat("<text class=\"", css, "\" x=\"", coordinate(x), "\" y=\"", coordinate(y),
                "\" text-anchor=\"", anchor, "\">", text, "</text>");
}

/// Numbers of the experts left of their rows, and what they take in the end right of them.
std::string row_labels(const std::vector<double>& last_E, double row) {
  const size_t E = last_E.size();
  size_t every = 1;
  for (const size_t candidate : {1, 2, 4, 8, 16, 32, 64, 128})
    if (every = candidate; static_cast<double>(every) * row >= 14) break;
  std::string out;
  for (size_t e = 0; e < E; e += every) {
    const double y = kMapTop + (static_cast<double>(e) + 0.5) * row + 4;
    out += svg_text(kMapLeft - 6, y, "tick", "end", std::to_string(e));
    if (every == 1)
      out += svg_text(kMapWidth - kMapRight + 8, y, "label", "start", fixed(last_E[e], 2) + "×");
  }
  return out;
}

std::string step_labels(const analyze::RunLog& log, const std::vector<Stretch>& columns,
                        double top) {
  const double width = (kMapWidth - kMapLeft - kMapRight) / static_cast<double>(columns.size());
  const auto last_step = [&](size_t c) {
    return static_cast<double>(log.steps[columns[c].end - 1].step);
  };
  std::string out;
  size_t c = 0;
  for (const double step : ticks(0, last_step(columns.size() - 1), 8)) {
    if (step == 0) continue;
    while (c + 1 < columns.size() && last_step(c) < step) ++c;
    out += svg_text(kMapLeft + (static_cast<double>(c) + 0.5) * width, top, "tick", "middle",
                    compact(step));
  }
  return out + svg_text(kMapWidth - kMapRight + 18, top, "tick", "start", "step");
}

}  // namespace

int heat_level(double ratio) {
  if (!std::isfinite(ratio)) return -1;
  if (ratio <= 0) return 0;
  return static_cast<int>(std::clamp<long>(std::lround(7 + 3 * std::log2(ratio)), 1, 13));
}

size_t load_map_columns(const analyze::RunLog& log) {
  size_t rows = 0;
  for (const auto& step : log.steps) {
    size_t here = 0;
    for (const auto& layer : step.layers) here += layer.load_E.size();
    rows = std::max(rows, here);
  }
  return std::clamp<size_t>(kCellsOfMaps / std::max<size_t>(1, rows), 6, 120);
}

std::string load_map(const analyze::RunLog& log, size_t index, size_t columns) {
  const size_t E = experts_of(log, index);
  const auto parts = stretches(log.steps.size(), columns);
  if (E == 0 || parts.empty()) return "";
  std::vector<uint8_t> pixels(E * parts.size());
  std::vector<std::string> rows(E);
  std::vector<double> ratio_E;
  for (size_t c = 0; c < parts.size(); ++c) {
    ratio_E = ratios_of(log, index, parts[c], E);
    for (size_t e = 0; e < E; ++e) {
      const int level = heat_level(ratio_E[e]);
      pixels[e * parts.size() + c] = static_cast<uint8_t>(level < 0 ? kHeatLevels : level);
      rows[e] += concat(c ? " " : "", level < 0 ? "" : coordinate(std::round(100 * ratio_E[e])));
    }
  }
  std::string steps;
  for (const auto& part : parts)
    steps += concat(steps.empty() ? "" : " ", log.steps[part.end - 1].step);
  const double row = std::clamp(416.0 / static_cast<double>(E), 1.0, 22.0);
  const double height = row * static_cast<double>(E), width = kMapWidth - kMapLeft - kMapRight;
  std::string out = concat(
      "<svg class=\"map\" viewBox=\"0 0 960 ", coordinate(kMapTop + height + 24),
      "\" role=\"img\" tabindex=\"0\" aria-label=\"Load of ", E, " experts over ",
      log.steps[parts.back().end - 1].step, " steps.\" data-plot=\"", coordinate(kMapLeft), ' ',
      coordinate(kMapTop), ' ', coordinate(width), ' ', coordinate(height), "\" data-steps=\"",
      steps, "\" data-ratio=\"", join(rows, ";"), "\"><rect class=\"paper\" x=\"",
      coordinate(kMapLeft), "\" y=\"", coordinate(kMapTop), "\" width=\"", coordinate(width),
      "\" height=\"", coordinate(height), "\"/><image x=\"", coordinate(kMapLeft), "\" y=\"",
      coordinate(kMapTop), "\" width=\"", coordinate(width), "\" height=\"", coordinate(height),
      "\" preserveAspectRatio=\"none\" href=\"",
      png_url(
          png(static_cast<int64_t>(parts.size()), static_cast<int64_t>(E), pixels, heat_palette())),
      "\"/>");
  if (row >= 8) {
    std::string lines;
    for (size_t e = 1; e < E; ++e)
      lines += concat("M", coordinate(kMapLeft), ' ',
                      coordinate(kMapTop + row * static_cast<double>(e)), "h", coordinate(width));
    out += concat("<path class=\"rows\" d=\"", lines, "\"/>");
  }
  return out + row_labels(ratio_E, row) + step_labels(log, parts, kMapTop + height + 18) +
         "</svg>\n";
}

std::string heat_legend() {
  std::string out = "<p class=\"scale\" aria-label=\"Colour scale\"><span>¼×</span>";
  for (int level = 1; level < kHeatLevels; ++level)
    out += level == 7 ? "<span>even</span>" : concat("<i class=\"h h", level, "\"></i>");
  return out + "<span>4×</span><i class=\"h h0\"></i><span>nothing</span></p>";
}

}  // namespace moe::report
