#pragma once

#include <fstream>
#include <string>

#include <moe/base/files.h>
#include <moe/train/evaluate.h>
#include <moe/train/step.h>

namespace moe::train {

/// `metrics.jsonl`: one JSON object a logged step, one an evaluation, as docs/metrics.md says.
class MetricsLog {
 public:
  explicit MetricsLog(const Path& path) : path_(path) {}

  /// Removes what the file says of steps after `step` and of evaluations after `evaluation`, and
  /// goes on behind the rest. To be called before the first line.
  void keep_up_to(int64_t step, int64_t evaluation);

  void step(int64_t step, int64_t tokens, const StepResult& result, double lr,
            double tokens_per_second);
  void evaluation(int64_t step, const EvalResult& result, double seconds);

 private:
  void write(const std::string& line);

  Path path_;
  std::ofstream out_;
};

}  // namespace moe::train
