#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include <moe/data/batch.h>
#include <moe/data/source_record.h>
#include <moe/objectives/evaluate.h>
#include <moe/train/exchange_counts.h>
#include <moe/train/expert_tokens.h>
#include <moe/train/frozen.h>
#include <moe/train/metrics.h>
#include <moe/train/monitor.h>
#include <moe/train/optimizer.h>
#include <moe/train/progress.h>
#include <moe/train/run.h>
#include <moe/train/warnings.h>

namespace moe::train {

/// The loop of one run, for any model, objective, optimizer and data. Owns everything that changes
/// while training.
///
/// Every rank of the group has one, trains on its rows of each batch and steps; rank 0 alone logs,
/// writes and prints, and decides what others cannot know (when to stop, what is on the disk).
class Trainer {
 public:
  /// Opens the data, of which `sources` goes into checkpoints, and makes the model. With a
  /// checkpoint to go on `from`, `restore` follows: parameters and state are not drawn, and what
  /// the checkpoint holds itself (the tokenizer, what stood beside train.init) is taken from it, so
  /// that the files they come from need not be there any more. Throws ConfigError when data and
  /// model do not fit each other.
  Trainer(const RunOptions& options, const Path& folder, const RunControls& controls,
          const data::SourceRecords& sources, const std::optional<Path>& from = {});
  Trainer(const Trainer&) = delete;  // the monitor knows where the warnings are
  Trainer& operator=(const Trainer&) = delete;

  /// Continues from a checkpoint.
  void restore(const Path& checkpoint);
  /// Trains to the end, or until told to stop; writes a checkpoint in either case.
  RunSummary train();

 private:
  bool leads() const { return layout_.leads(); }
  void info(std::string_view text) const;
  void warn(std::string_view text) const;
  /// The largest of the ranks' numbers, on every rank.
  int64_t largest(int64_t number) const;

  /// Gives the model memory and, anew, its first parameters and state.
  void start_model(bool anew);
  void open_logs();
  /// One optimizer step, its metrics and warnings.
  void step(bool last);
  void log_step(const StepResult& result, double lr, const std::vector<DeadExpert>& revived);
  /// Those of `dead` that were started again.
  std::vector<DeadExpert> revived_of(const std::vector<DeadExpert>& dead);
  /// What to do about a step whose loss or gradient is not finite.
  void handle_bad_step(const StepResult& result);
  /// One more of what a line counts one by one; the last of them is told.
  template <class Text>
  void count_event(const PeriodicWarnings::Kind& kind, const Text& text) {
    ++events_;
    warnings_.add(kind, events_, static_cast<double>(events_), text);
  }
  /// Evaluates unless this step has been; true when the loss is the best so far.
  bool evaluate_once();
  /// Lets the model write a few words for the log.
  void log_sample();
  void save();
  /// Saves where train.checkpoint_every or, for the `best` loss so far, train.keep_best asks for
  /// it.
  void save_if_due(bool best, int64_t last);
  std::vector<data::Batch> batches() const;

  RunOptions options_;
  Path folder_;
  RunControls controls_;
  parallel::Layout layout_;
  std::shared_ptr<const data::Dataset> dataset_;
  std::shared_ptr<const data::BatchSource> source_;
  std::vector<data::EvalSet> evaluation_;
  CheckpointTexts texts_;
  std::shared_ptr<models::Model> model_;
  std::shared_ptr<const objectives::Objective> objective_;
  std::shared_ptr<Optimizer> optimizer_;
  std::unique_ptr<parallel::GradientSums> gradients_;  // where they travel during backward passes
  FrozenState frozen_;
  std::optional<ExpertTokenCounts> expert_tokens_;  // where idle experts do not decay
  PeriodicWarnings warnings_;
  int64_t events_ = 0;  // warned about, each once
  ExpertMonitor monitor_;
  std::optional<ExchangeCounts> exchange_;
  RunRecord record_;
  std::optional<MetricsLog> metrics_;  // rank 0's
  std::optional<Progress> progress_;
  double seconds_before_ = 0;  // spent on the run before this call of train()
  bool restored_ = false;
  bool wrote_no_sample_ = false;
  int64_t saved_step_ = -1;
};

}  // namespace moe::train
