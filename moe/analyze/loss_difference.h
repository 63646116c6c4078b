#pragma once
// How far the losses of two runs are apart. No tensors.

#include <vector>

#include <moe/analyze/run_log.h>

namespace moe::analyze {

/// Best loss of `ours` less best loss of `theirs` over the steps at which both were evaluated; NaN
/// where there is no such step.
double difference_at_equal_steps(const std::vector<LossPoint>& ours,
                                 const std::vector<LossPoint>& theirs);

/// Loss of `ours` less loss of `theirs` when the run whose last evaluation came sooner had it. The
/// other's loss then is taken from its evaluations before and behind that time (loss_at); NaN where
/// it has none before: what is not measured is not guessed.
double difference_at_equal_time(const std::vector<LossPoint>& ours,
                                const std::vector<LossPoint>& theirs);

}  // namespace moe::analyze
