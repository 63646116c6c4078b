#pragma once

#include <string>

#include <moe/train/options.h>

namespace moe::train {

/// Share of the peak learning rate in step `step` (from 0) of a schedule of `steps`, in [0, 1]:
/// linear warm-up over `warmup` steps, then, with x from 0 in the first step behind it to 1 in the
/// last of all, and f = final_share:
///   constant: 1;  linear: 1 - (1 - f) x;  cosine: f + (1 - f)(1 + cos(pi x)) / 2;
///   wsd: 1, and over the last decay_share of all steps, as far as the warm-up leaves them,
///   linearly to f (Hu et al. 2024).
/// The last step's share is f exactly, where the warm-up ends before it, and stays behind the end.
double learning_rate_share(const ScheduleOptions& options, int64_t step, int64_t steps);

/// Steps of the schedule: schedule.steps, or train.steps.
int64_t schedule_steps(const TrainOptions& options);
/// The learning rate of step `step` (from 0).
double learning_rate(const TrainOptions& options, int64_t step);

/// What a run that goes on behind `step` steps with other options does to its learning rate: a
/// sentence for people, which names the setting that keeps the old curve; "" when no rate to come
/// differs.
std::string schedule_change(const TrainOptions& then, const TrainOptions& now, int64_t step);

}  // namespace moe::train
