#include <algorithm>
#include <cmath>
#include <numbers>

#include <moe/train/schedule.h>

namespace moe::train {

double learning_rate_share(const ScheduleOptions& o, int64_t step, int64_t steps) {
  if (step < o.warmup) return static_cast<double>(step + 1) / static_cast<double>(o.warmup + 1);
  const auto rest = static_cast<double>(std::max<int64_t>(1, steps - 1 - o.warmup));
  const double x = std::clamp(static_cast<double>(step - o.warmup) / rest, 0.0, 1.0);
  const double fall = 1 - o.final_share;
  if (o.kind == "linear") return 1 - fall * x;
  if (o.kind == "cosine") return o.final_share + fall * (1 + std::cos(std::numbers::pi * x)) / 2;
  if (o.kind == "wsd")
    return o.decay_share > 0 ? 1 - fall * std::max(0.0, x - (1 - o.decay_share)) / o.decay_share
                             : 1;
  return 1;
}

}  // namespace moe::train
