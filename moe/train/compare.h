#pragma once

#include <string>
#include <vector>

#include <moe/analyze/run_log.h>
#include <moe/train/run.h>

namespace moe::train {

using analyze::loss_at;
using analyze::LossPoint;

/// One seed's pair of runs.
struct PairResult {
  int64_t seed = 0;
  double moe_best = 0, dense_best = 0;
  double moe_seconds = 0, dense_seconds = 0;
  /// MoE - dense: best losses over the steps at which both were evaluated.
  double equal_steps_difference = 0;
  /// MoE - dense when the faster one had finished; NaN where the slower one was not evaluated
  /// before, so that it is not measured. The slower one's learning rate is then not at
  /// its end yet, which makes it look a little worse than a run planned for that time.
  double equal_time_difference = 0;
};

/// Mean of differences with the half width of its 95 % interval (Student's t; NaN for one seed).
/// Both are NaN where one of the values is.
struct Interval {
  double mean = 0;
  double half_width = 0;
};
Interval confidence_interval(const std::vector<double>& values);

/// The evaluations a run logged, in order. Throws moe::Error when there are none.
std::vector<LossPoint> read_evaluations(const Path& metrics);

/// The dense model of equal active FLOPs. Throws ConfigError for other architectures than decoders.
models::ModelSpec dense_twin(const models::ModelSpec& spec);

/// Trains the MoE model of `options` and its dense twin of equal active FLOPs, both with `seed` and
/// the same data order, in folder/moe and folder/dense. Goes on where checkpoints are. Throws
/// ConfigError where no domain has validation data.
PairResult compare_pair(const RunOptions& options, const Path& folder, int64_t seed,
                        const RunControls& controls);

}  // namespace moe::train
