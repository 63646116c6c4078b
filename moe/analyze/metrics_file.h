#pragma once
// metrics.jsonl, as docs/metrics.md describes it, read back. E experts.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moe/base/files.h>

namespace moe::analyze {

/// One line: a logged step or an evaluation.
struct MetricsLine {
  int64_t step = 0;
  /// Every number of the line under its dotted name, in the order of the fields' names: "loss",
  /// "balance.switch", "layers.3.entropy" (3 is the block's number), "eval.loss",
  /// "eval.domains.english". NaN for null. Lists of numbers (the load) are not among them.
  std::vector<std::pair<std::string, double>> values = {};
  /// (E,) share of the pairs of each expert, by the block's number; for steps only.
  std::vector<std::pair<int64_t, std::vector<double>>> loads = {};
  /// The line has an evaluation.
  bool is_evaluation = false;

  /// The value called `name`; nothing when the line has none.
  std::optional<double> find(std::string_view name) const;
};

/// Reads one line. Throws moe::Error for anything but an object with an integer `step`; `what`
/// names the line in messages.
MetricsLine parse_metrics_line(std::string_view text, std::string_view what);

/// What to do about a line that cannot be read.
enum class DamagedLines {
  kRefuse,  // throw moe::Error, which gives its number
  kEnd,     // take it for the end of the file
  kSkip,    // go on behind it
};

/// Hands on every line of the file and its text, in order, one at a time in memory. A last line
/// without a newline is passed over: a run is writing it, or a crash tore it. Returns how many were
/// skipped.
int64_t read_metrics(
    const Path& path,
    const std::function<void(const MetricsLine& line, std::string_view text)>& take,
    DamagedLines damaged = DamagedLines::kRefuse, FileSystem& files = real_files());

}  // namespace moe::analyze
