#pragma once

#include <fstream>
#include <memory>
#include <string>

#include <moe/analyze/metric_summary.h>
#include <moe/base/files.h>
#include <moe/objectives/evaluate.h>
#include <moe/train/monitor.h>
#include <moe/train/step.h>
#include <moe/train/tensorboard_log.h>

namespace moe::train {

/// A step as it is logged.
struct StepLine {
  int64_t step = 0;
  int64_t tokens = 0;
  double lr = 0;
  double tokens_per_second = 0;
  double seconds = 0;
  const StepResult& result;
  /// Of each of result.layers, or empty.
  std::vector<ExpertNews> news = {};
};

/// An evaluation as it is logged.
struct EvaluationLine {
  int64_t step = 0;
  double seconds = 0;
  const objectives::EvalResult& result;
};

/// `metrics.jsonl`: one JSON object a logged step, one an evaluation, as docs/metrics.md says; and
/// the same for TensorBoard and the summary.
class MetricsLog {
 public:
  /// `tensorboard` is the folder of its event files; empty: none.
  explicit MetricsLog(const Path& path, const Path& tensorboard = {}) : path_(path) {
    if (!tensorboard.empty()) board_ = std::make_unique<TensorBoardLog>(tensorboard);
  }

  /// Removes what the file says of steps after `step` and of evaluations after `evaluation`, and
  /// goes on behind the rest. To be called before the first line.
  void keep_up_to(int64_t step, int64_t evaluation);

  void step(const StepLine& step);
  void evaluation(const EvaluationLine& evaluation);

  /// Text for TensorBoard alone, shown as it stands.
  void text(int64_t step, std::string_view tag, std::string_view text);

  /// Of every line in the file, those of before a resume too.
  const analyze::MetricSummary& summary() const { return summary_; }

 private:
  void write(const std::string& line, const analyze::MetricsLine& record);

  Path path_;
  std::ofstream out_;
  std::unique_ptr<TensorBoardLog> board_;
  analyze::MetricSummary summary_;
};

}  // namespace moe::train
