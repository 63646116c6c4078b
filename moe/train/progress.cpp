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

double Progress::seconds() const {
  return between(begin_, Clock::now());
}

std::string Progress::line(int64_t step, const StepResult& result) const {
  const double done = static_cast<double>(step - scale_.first_step), elapsed = seconds();
  const double left = done > 0 ? elapsed / done * static_cast<double>(scale_.steps - step) : 0;
  double worst = 0;
  for (const auto& layer : result.layers) worst = std::max(worst, layer.max_over_mean());
  char numbers[256];
  std::snprintf(numbers, sizeof numbers, "%ld/%ld  loss %.4f", static_cast<long>(step),
                static_cast<long>(scale_.steps), result.task_loss);
  std::string out = scale_.label + ' ' + numbers;
  if (!result.layers.empty()) {
    std::snprintf(numbers, sizeof numbers, "  busiest expert %.2fx mean", worst);
    out += numbers;
  }
  std::snprintf(numbers, sizeof numbers, "  %.0f %s/s  %s left", tokens_per_second_,
                scale_.unit.c_str(), clock_text(left).c_str());
  out += numbers;
  // The bar stands last: a narrow terminal cuts it first.
  if (log::is_terminal())
    out += "  " + bar(static_cast<double>(step) / static_cast<double>(scale_.steps));
  return out;
}

void Progress::step(int64_t step, const StepResult& result) {
  const auto now = Clock::now();
  const double rate =
      static_cast<double>(scale_.tokens_per_step) / std::max(1e-9, between(last_, now));
  tokens_per_second_ = tokens_per_second_ == 0 ? rate : 0.9 * tokens_per_second_ + 0.1 * rate;
  last_ = now;
  const bool terminal = log::is_terminal();
  if (scale_.silent) return;
  if (step < scale_.steps && between(shown_, now) < (terminal ? kRedrawSeconds : kPlainLineSeconds))
    return;
  shown_ = now;
  if (terminal)
    log::status_line(line(step, result));
  else
    log::info(line(step, result));
}

void Progress::evaluation(int64_t step, const std::vector<objectives::Metric>& metrics, bool best) {
  if (scale_.silent) return;
  char text[64];
  std::string line = concat(scale_.label, "  step ", step, ": validation");
  for (const auto& [name, value] : metrics) {
    std::snprintf(text, sizeof text, " %.4f", value);
    line += concat(line.ends_with("validation") ? " " : ", ", name, text);
  }
  log::info(line + (best ? " (best)" : ""));
}

void Progress::finish() {
  if (!scale_.silent) log::status_line("");
}

}  // namespace moe::train
