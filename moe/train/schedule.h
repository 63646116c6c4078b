#pragma once

#include <moe/train/options.h>

namespace moe::train {

/// Share of the peak learning rate in step `step` (from 0) of `steps`: linear warm-up over `warmup`
/// steps, then
///   constant: 1;  linear: falls to final_share;  cosine: f + (1 - f)(1 + cos(pi x)) / 2;
///   wsd: 1, and over the last decay_share of the steps linearly to final_share (Hu et al. 2024).
double learning_rate_share(const ScheduleOptions& options, int64_t step, int64_t steps);

}  // namespace moe::train
