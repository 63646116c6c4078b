#pragma once

#include <chrono>
#include <string>

#include <moe/objectives/objective.h>
#include <moe/train/step.h>

namespace moe::train {

/// What progress is measured in.
struct ProgressScale {
  std::string label;
  int64_t first_step = 0;
  int64_t steps = 0;  // in all
  int64_t tokens_per_step = 0;
  std::string unit = "tokens";
  /// Only measure, and say nothing: one rank speaks.
  bool silent = false;
};

/// The line a person watches while training: step, loss, balance, tokens/s, time left. Redrawn in
/// place on a terminal, a plain line now and then elsewhere.
class Progress {
 public:
  explicit Progress(ProgressScale scale) : scale_(std::move(scale)) {}

  void step(int64_t step, const StepResult& result);
  /// `metrics`: the loss first.
  void evaluation(int64_t step, const std::vector<objectives::Metric>& metrics, bool best);
  /// Leaves the time since the last step out of tokens a second.
  void skip_time() { last_ = Clock::now(); }
  void finish();

  /// Tokens per second over the last steps.
  double tokens_per_second() const { return tokens_per_second_; }
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(int64_t step, const StepResult& result) const;

  ProgressScale scale_;
  Clock::time_point begin_ = Clock::now(), last_ = begin_, shown_ = begin_;
  double tokens_per_second_ = 0;
};

}  // namespace moe::train
