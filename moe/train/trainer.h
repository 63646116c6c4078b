#pragma once

#include <memory>
#include <optional>

#include <moe/data/loader.h>
#include <moe/train/evaluate.h>
#include <moe/train/metrics.h>
#include <moe/train/monitor.h>
#include <moe/train/progress.h>
#include <moe/train/run.h>

namespace moe::train {

/// The loop of one run. Owns everything that changes while training.
class Trainer {
 public:
  /// Opens the data and makes the model. Throws ConfigError when they do not fit each other.
  Trainer(const RunOptions& options, const Path& folder);

  /// Continues from a checkpoint.
  void restore(const Path& checkpoint);
  /// Trains to the end, or until told to stop; writes a checkpoint in either case.
  RunSummary train(const RunControls& controls);

 private:
  /// One optimizer step, its metrics and warnings.
  void step(Progress& progress, MetricsLog& metrics, bool last);
  /// What to do about a step whose loss or gradient is not finite.
  void handle_bad_step(const StepResult& result, MetricsLog& metrics);
  /// Evaluates unless this step has been; true when the loss is the best so far.
  bool evaluate_once(Progress& progress, MetricsLog& metrics);
  /// Lets the model write a few words for the log.
  void log_sample(MetricsLog& metrics) const;
  void save();
  std::vector<data::Batch> batches() const;

  RunOptions options_;
  Path folder_;
  std::shared_ptr<parallel::Communicator> group_ = parallel::local();
  std::shared_ptr<const data::Corpus> corpus_;
  CheckpointTexts texts_;
  data::Loader loader_;
  std::shared_ptr<models::LanguageModel> model_;
  AdamW optimizer_;
  ExpertMonitor monitor_;
  RunRecord record_;
  double seconds_before_ = 0;  // spent on the run before this call of train()
  bool restored_ = false;
  int64_t saved_step_ = -1;
};

}  // namespace moe::train
