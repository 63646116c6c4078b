#include <algorithm>
#include <array>
#include <cmath>

#include <moe/models/twin.h>
#include <moe/train/compare.h>
#include <moe/train/groups.h>

namespace moe::train {

namespace {

/// The 97.5 % quantile of Student's t with 1, 2, … degrees of freedom.
constexpr std::array<double, 10> kStudent = {12.706, 4.303, 3.182, 2.776, 2.571,
                                             2.447,  2.365, 2.306, 2.262, 2.228};

RunSummary train_one(const RunOptions& options, const Path& folder, RunControls controls,
                     const std::string& name) {
  controls.label = name;
  return Run(options, folder).resume_or_start(controls);
}

}  // namespace

models::ModelSpec dense_twin(const models::ModelSpec& spec) {
  check<ConfigError>(spec.architecture == "decoder", "train/compare",
                     "expected model.architecture = \"decoder\", got \"", spec.architecture,
                     "\", which has no dense twin. Compare decoders.");
  models::DecoderOptions options;
  read_fields(options, spec.options, "model");
  models::ModelSpec out = spec;
  out.options = write_fields(models::dense_twin(options));
  return out;
}

Interval confidence_interval(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / n;
  if (values.size() < 2) return {mean, std::nan("")};
  for (const double value : values) squares += (value - mean) * (value - mean);
  const size_t degrees = values.size() - 1;
  const double quantile = degrees <= kStudent.size() ? kStudent[degrees - 1] : 1.96;
  return {mean, quantile * std::sqrt(squares / (n - 1) / n)};
}

std::vector<LossPoint> read_evaluations(const Path& metrics) {
  const auto points = analyze::read_run_log(metrics).loss_points();
  check(!points.empty(), "train/compare", "expected evaluations in ", metrics.string(),
        ", found none. Set train.eval_every and validation data.");
  return points;
}

PairResult compare_pair(const RunOptions& options, const Path& folder, int64_t seed,
                        const RunControls& controls) {
  RunOptions moe = options;
  moe.train.seed = seed;
  // Writing text takes the two models different times, and it is training that is timed.
  moe.train.tensorboard.sample_tokens = 0;
  RunOptions dense = moe;
  dense.model = dense_twin(options.model);
  auto& groups = dense.train.optimizer.groups;
  if (!groups.empty())  // the twin has no experts that a pattern could fit
    groups = fitting(groups, parameters_of(*models::make_model(dense.model)));

  PairResult result{.seed = seed};
  const auto first = train_one(moe, folder / "moe", controls, "MoE  ");
  if (first.stopped_by != 0) return result;
  const auto second = train_one(dense, folder / "dense", controls, "dense");
  if (second.stopped_by != 0) return result;
  result.moe_best = first.record.best_loss;
  result.dense_best = second.record.best_loss;
  result.moe_seconds = first.record.seconds;
  result.dense_seconds = second.record.seconds;
  const double both = std::min(result.moe_seconds, result.dense_seconds);
  result.equal_time_difference =
      loss_at(read_evaluations(folder / "moe" / "metrics.jsonl"), both) -
      loss_at(read_evaluations(folder / "dense" / "metrics.jsonl"), both);
  return result;
}

}  // namespace moe::train
