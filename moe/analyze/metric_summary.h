#pragma once
// Mean, deviation, least and greatest value of every metric of a run.

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <moe/analyze/metrics_file.h>
#include <moe/analyze/moments.h>

namespace moe::analyze {

/// Adds up what a run logs, by the dotted names of MetricsLine ("loss", "layers.1.entropy"). A
/// value type; const calls are thread-safe.
class MetricSummary {
 public:
  void add(const std::string& name, double value);
  void add(const MetricsLine& line);

  /// The metric called `name`; null when none was added.
  const Moments* find(std::string_view name) const;
  /// All, in the order in which they first came.
  const std::vector<std::pair<std::string, Moments>>& metrics() const { return metrics_; }
  bool empty() const { return metrics_.empty(); }

 private:
  std::vector<std::pair<std::string, Moments>> metrics_;
  std::unordered_map<std::string, size_t> index_;
};

/// The summary of a file that read_metrics reads.
MetricSummary summarise_metrics(const Path& path, DamagedLines damaged = DamagedLines::kRefuse);

/// A table for people, a line a metric under a line of headings: name, count, mean, deviation,
/// least, greatest, last. The layers of a model share a line ("layers.*.entropy", without a last
/// value); counters that only rise (tokens, seconds) are left out. No newline at the end; "" for an
/// empty summary.
std::string summary_table(const MetricSummary& summary);

}  // namespace moe::analyze
