#pragma once
// What a run wrote into metrics.jsonl, read back. E experts. No tensors.

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <moe/base/files.h>

namespace moe::analyze {

inline constexpr double kNotLogged = std::numeric_limits<double>::quiet_NaN();

/// One MoE layer in one logged step.
struct LoggedLayer {
  int64_t layer = 0;
  /// Share of the pairs that each expert took.
  std::vector<double> load_E;
  double max_over_mean = kNotLogged;
  double entropy = kNotLogged;
  double dropped = kNotLogged;
  double unused = kNotLogged;
};

/// A number is NaN where the line does not have it, or has null for one that was not finite.
struct LoggedStep {
  int64_t step = 0;
  int64_t tokens = 0;
  double seconds = kNotLogged;
  double loss = kNotLogged;
  double task_loss = kNotLogged;
  double grad_norm = kNotLogged;
  double lr = kNotLogged;
  double tokens_per_second = kNotLogged;
  std::vector<std::pair<std::string, double>> balance;
  std::vector<LoggedLayer> layers;
};

struct LoggedEvaluation {
  int64_t step = 0;
  double seconds = kNotLogged;
  double loss = kNotLogged;
  /// What else the objective reports, such as "perplexity" or "accuracy".
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<std::pair<std::string, double>> domains;
};

/// A validation loss and when it was reached.
struct LossPoint {
  int64_t step = 0;
  double seconds = 0;
  double loss = 0;
};

/// The lines of a metrics.jsonl (docs/metrics.md), each list with rising steps.
struct RunLog {
  std::vector<LoggedStep> steps;
  std::vector<LoggedEvaluation> evaluations;
  /// Lines that are no such objects, or repeat an earlier step; not a last line without an end.
  int64_t skipped = 0;

  bool empty() const { return steps.empty() && evaluations.empty(); }
  /// The last step in the log; 0 without any.
  int64_t last_step() const;
  /// The evaluations with a finite loss, in order.
  std::vector<LossPoint> loss_points() const;
};

/// Reads what read_metrics gives of the file, damaged lines skipped. Throws moe::Error when there
/// is no such file or it cannot be read.
RunLog read_run_log(const Path& metrics);

/// The loss after `seconds`: linear between evaluations, before the first and behind the last one
/// theirs. `points` must not be empty.
double loss_at(const std::vector<LossPoint>& points, double seconds);

}  // namespace moe::analyze
