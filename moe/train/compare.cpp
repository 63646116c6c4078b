#include <algorithm>
#include <cmath>

#include <moe/analyze/loss_difference.h>
#include <moe/analyze/student_t.h>
#include <moe/models/twin.h>
#include <moe/train/compare.h>
#include <moe/train/groups.h>

namespace moe::train {

namespace {

constexpr double kConfidence = 0.95;

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
  const double quantile = analyze::student_t(kConfidence, static_cast<int64_t>(values.size()) - 1);
  return {mean, quantile * std::sqrt(squares / (n - 1) / n)};
}

std::vector<LossPoint> read_evaluations(const Path& metrics) {
  const auto points = analyze::read_run_log(metrics).loss_points();
  check(!points.empty(), "train/compare", "expected evaluations in ", metrics.string(),
        ", found none. Give the domains more validation data.");
  return points;
}

PairResult compare_pair(const RunOptions& options, const Path& folder, int64_t seed,
                        const RunControls& controls) {
  const bool validates = std::ranges::any_of(options.data.domains, [](const auto& domain) {
    return !domain.valid.empty() || (!domain.path.empty() && domain.valid_share > 0);
  });
  check<ConfigError>(validates, "train/compare",
                     "expected validation data to compare losses on, found none. Give a domain "
                     "valid beside train, or path with valid_share > 0.");
  check<ConfigError>(options.train.init.empty(), "train/compare",
                     "expected runs that both start anew, got train.init = \"", options.train.init,
                     "\", whose weights a dense twin has not. Leave it out.");
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
  const auto moe_losses = read_evaluations(folder / "moe" / "metrics.jsonl"),
             dense_losses = read_evaluations(folder / "dense" / "metrics.jsonl");
  result.equal_steps_difference = analyze::difference_at_equal_steps(moe_losses, dense_losses);
  result.equal_time_difference = analyze::difference_at_equal_time(moe_losses, dense_losses);
  return result;
}

}  // namespace moe::train
