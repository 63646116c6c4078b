#pragma once

#include <chrono>
#include <string>

#include <moe/train/step.h>

namespace moe::train {

/// The line a person watches while training: step, loss, balance, tokens/s, time left. Redrawn in
/// place on a terminal, a plain line now and then elsewhere.
class Progress {
 public:
  Progress(std::string label, int64_t first_step, int64_t steps, int64_t tokens_per_step);

  void step(int64_t step, const StepResult& result);
  void evaluation(int64_t step, double loss, bool best);
  /// What passed since the last step was no training.
  void skip_time() { last_ = Clock::now(); }
  void finish();

  /// Tokens per second over the last steps.
  double tokens_per_second() const { return tokens_per_second_; }
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(int64_t step, const StepResult& result) const;

  std::string label_;
  int64_t first_, steps_, tokens_per_step_;
  Clock::time_point begin_ = Clock::now(), last_ = begin_, shown_ = begin_;
  double tokens_per_second_ = 0;
};

}  // namespace moe::train
