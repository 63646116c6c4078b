#include <cstdio>

#include <moe/base/log.h>
#include <moe/base/text.h>
#include <moe/train/progress.h>

namespace moe::train {

namespace {

constexpr double kPlainLineSeconds = 10;
constexpr double kRedrawSeconds = 0.1;

double between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

std::string bar(double share) {
  constexpr int kWidth = 20;
  const int full = static_cast<int>(share * kWidth);
  std::string out;
  for (int i = 0; i < kWidth; ++i) out += i < full ? "█" : "░";
  return out;
}

}  // namespace

Progress::Progress(std::string label, int64_t first_step, int64_t steps, int64_t tokens_per_step)
    : label_(std::move(label)),
      first_(first_step),
      steps_(steps),
      tokens_per_step_(tokens_per_step) {}

double Progress::seconds() const {
  return between(begin_, Clock::now());
}

std::string Progress::line(int64_t step, const StepResult& result) const {
  const double done = static_cast<double>(step - first_), elapsed = seconds();
  const double left = done > 0 ? elapsed / done * static_cast<double>(steps_ - step) : 0;
  double worst = 0;
  for (const auto& layer : result.layers) worst = std::max(worst, layer.max_over_mean());
  char numbers[256];
  std::snprintf(numbers, sizeof numbers, "%ld/%ld  loss %.4f", static_cast<long>(step),
                static_cast<long>(steps_), result.lm_loss);
  std::string out = label_ + ' ' + numbers;
  if (!result.layers.empty()) {
    std::snprintf(numbers, sizeof numbers, "  busiest expert %.2fx mean", worst);
    out += numbers;
  }
  std::snprintf(numbers, sizeof numbers, "  %.0f tokens/s  %s left", tokens_per_second_,
                clock_text(left).c_str());
  out += numbers;
  // The bar stands last: a narrow terminal cuts it first.
  if (log::is_terminal())
    out += "  " + bar(static_cast<double>(step) / static_cast<double>(steps_));
  return out;
}

void Progress::step(int64_t step, const StepResult& result) {
  const auto now = Clock::now();
  const double rate = static_cast<double>(tokens_per_step_) / std::max(1e-9, between(last_, now));
  tokens_per_second_ = tokens_per_second_ == 0 ? rate : 0.9 * tokens_per_second_ + 0.1 * rate;
  last_ = now;
  const bool terminal = log::is_terminal();
  if (step < steps_ && between(shown_, now) < (terminal ? kRedrawSeconds : kPlainLineSeconds))
    return;
  shown_ = now;
  if (terminal)
    log::status_line(line(step, result));
  else
    log::info(line(step, result));
}

void Progress::evaluation(int64_t step, double loss, bool best) {
  char text[128];
  std::snprintf(text, sizeof text, "  step %ld: validation loss %.4f%s", static_cast<long>(step),
                loss, best ? " (best)" : "");
  log::info(label_ + text);
}

void Progress::finish() {
  log::status_line("");
}

}  // namespace moe::train
