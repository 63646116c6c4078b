#include <algorithm>
#include <cmath>
#include <cstdio>

#include <moe/analyze/metric_summary.h>

namespace moe::analyze {

namespace {

/// "layers.3.entropy" -> "layers.*.entropy"; other names stay.
std::string shared_name(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return name;
  const size_t end = name.find('.', kLayers.size());
  return end == std::string::npos ? name : "layers.*" + name.substr(end);
}

/// At most 10 characters, as many digits as tell values of a metric apart; "-" for what too few
/// values tell.
std::string number_text(double value) {
  if (std::isnan(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

}  // namespace

void MetricSummary::add(const std::string& name, double value) {
  const auto [found, is_new] = index_.emplace(name, metrics_.size());
  if (is_new) metrics_.emplace_back(name, Moments());
  metrics_[found->second].second.add(value);
}

void MetricSummary::add(const MetricsLine& line) {
  for (const auto& [name, value] : line.values) add(name, value);
}

const Moments* MetricSummary::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &metrics_[found->second].second;
}

MetricSummary summarise_metrics(const Path& path, DamagedLines damaged) {
  MetricSummary out;
  read_metrics(
      path, [&](const MetricsLine& line, std::string_view) { out.add(line); }, damaged);
  return out;
}

std::string summary_table(const MetricSummary& summary) {
  std::vector<std::pair<std::string, Moments>> rows;
  for (const auto& [name, moments] : summary.metrics()) {
    if (name == "tokens" || name == "seconds") continue;
    const std::string shared = shared_name(name);
    const auto row =
        std::ranges::find_if(rows, [&](const auto& other) { return other.first == shared; });
    if (row == rows.end())
      rows.emplace_back(shared, moments);
    else
      row->second.merge(moments);
  }
  if (rows.empty()) return "";
  size_t width = 6;
  for (const auto& [name, moments] : rows) width = std::max(width, name.size());

  std::string out;
  const auto add_line = [&](const std::string& name, const std::vector<std::string>& cells) {
    out += name + std::string(width - name.size(), ' ');
    for (const auto& cell : cells)
      if (!cell.empty()) out += std::string(cell.size() < 11 ? 11 - cell.size() : 1, ' ') + cell;
    out += '\n';
  };
  add_line("metric", {"count", "mean", "std", "min", "max", "last"});
  for (const auto& [name, moments] : rows) {
    std::string count = std::to_string(moments.count());
    if (moments.not_finite() > 0) count += '+' + std::to_string(moments.not_finite()) + "nan";
    const bool is_shared = name.starts_with("layers.*");
    const double deviation = moments.count() > 1 ? moments.deviation() : std::nan("");
    add_line(name, {count, number_text(moments.mean()), number_text(deviation),
                    number_text(moments.min()), number_text(moments.max()),
                    is_shared ? "" : number_text(moments.last())});
  }
  out.pop_back();
  return out;
}

}  // namespace moe::analyze
