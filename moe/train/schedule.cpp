#include <algorithm>
#include <cmath>
#include <numbers>

#include <moe/train/schedule.h>

namespace moe::train {

namespace {

/// Where `step` is between `first` and `last`: 0 to 1; 0 when nothing is between them.
double way(int64_t step, double first, int64_t last) {
  const double length = static_cast<double>(last) - first;
  return length > 0 ? std::clamp((static_cast<double>(step) - first) / length, 0.0, 1.0) : 0;
}

}  // namespace

double learning_rate_share(const ScheduleOptions& o, int64_t step, int64_t steps) {
  const int64_t last = std::max<int64_t>(0, steps - 1);
  step = std::min(step, last);
  if (step < o.warmup) return static_cast<double>(step + 1) / static_cast<double>(o.warmup + 1);
  const auto begin = static_cast<double>(o.warmup);
  const double x = way(step, begin, last);
  // std::lerp is exact at both ends and never beyond them.
  if (o.kind == "linear") return std::lerp(1.0, o.final_share, x);
  if (o.kind == "cosine")
    return o.final_share + (1 - o.final_share) * (1 + std::cos(std::numbers::pi * x)) / 2;
  if (o.kind == "wsd") {
    const double stable = (1 - o.decay_share) * static_cast<double>(last);
    return std::lerp(1.0, o.final_share, way(step, std::max(begin, stable), last));
  }
  return 1;
}

int64_t schedule_steps(const TrainOptions& options) {
  return options.schedule.steps > 0 ? options.schedule.steps : options.steps;
}

double learning_rate(const TrainOptions& o, int64_t step) {
  return o.optimizer.lr * learning_rate_share(o.schedule, step, schedule_steps(o));
}

std::string schedule_change(const TrainOptions& then, const TrainOptions& now, int64_t step) {
  const int64_t before = schedule_steps(then), after = schedule_steps(now);
  if (before == after)
    return now.steps == then.steps || now.steps <= after || step >= now.steps
               ? ""
               : concat("the learning rate keeps its ", now.schedule.kind, " schedule of ", after,
                        " steps and stays at ", learning_rate(now, after - 1), " behind it.");
  // Two lengths of a schedule that differ at all differ at one of so many places.
  constexpr int64_t kPlaces = 1000;
  const int64_t left = std::max<int64_t>(0, now.steps - 1 - step);
  bool differs = false;
  for (int64_t i = 0; step < now.steps && !differs && i <= kPlaces; ++i) {
    const int64_t place = step + left * i / kPlaces;
    differs = learning_rate(then, place) != learning_rate(now, place);
  }
  if (!differs) return "";
  const double was = learning_rate(then, step), is = learning_rate(now, step);
  return concat("the learning rate now follows a ", now.schedule.kind, " schedule of ", after,
                " steps instead of ", before, ": step ", step + 1, " has ", is,
                was == is ? std::string(", as it would have had, and later ones differ")
                          : concat(" instead of ", was),
                ". train.schedule.keep = true keeps the old curve and then its last rate; a run "
                "that has gone on goes back to it with train.schedule.steps = ",
                before, '.');
}

}  // namespace moe::train
