#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moe/analyze/metric_summary.h>
#include <moe/base/files.h>
#include <moe/parallel/communicator.h>
#include <moe/train/exchange.h>
#include <moe/train/options.h>
#include <moe/train/state.h>

namespace moe::train {

/// What a caller decides beside the configuration.
struct RunControls {
  /// Ranks that train together, each calling the same functions of a Run of its own on the same
  /// folder. Rank 0 writes, and reads what decides how the run goes on.
  std::shared_ptr<parallel::Communicator> group = parallel::local();
  /// Where the model is.
  at::Device device = at::kCPU;
  /// Nonzero once the run should write a checkpoint and stop (a signal number); every rank asks
  /// after every step, and all stop at the step at which one of them says so.
  std::function<int()> stop = [] { return 0; };
  /// Called on rank 0 once data, model and optimizer are there, before the first step.
  std::function<void()> ready = [] {};
  /// Stop (with a checkpoint) after this many steps in all; -1: train.steps. The schedule does not
  /// change.
  int64_t max_steps = -1;
  /// Resume although a file that the run reads holds something else than before; warns of it.
  bool allow_changed_data = false;
  /// Name in progress lines.
  std::string label = "train";
};

struct RunSummary {
  RunRecord record;
  double final_loss = 0;      // of the last evaluation; NaN without validation data
  int stopped_by = 0;         // what controls.stop said
  int64_t resumed_from = -1;  // the step of the checkpoint that it went on from; -1: none
  bool early_stopped = false;
  /// Mean, deviation and range of everything that was logged, before a resume too; rank 0's.
  analyze::MetricSummary metrics = {};
  /// What ranks that share experts sent each other since the start or the resume.
  ExchangeSummary exchange = {};
};

/// A whole run from a configuration: trains, logs, evaluates, writes checkpoints, in one folder
///   config.toml  metrics.jsonl  tensorboard/  checkpoints/step-NNNNNN/
/// and, where ranks share experts, exchange.json (exchange.h).
/// One run a process at a time: the number of threads is process-wide.
class Run {
 public:
  Run(const RunOptions& options, const Path& folder);
  /// Reads a TOML file and `overrides` ("train.steps=500"). The folder defaults to out/<name of the
  /// file>.
  static Run from_toml(const Path& config, const std::vector<std::string>& overrides = {},
                       const Path& folder = {});

  /// Begins anew; throws when the folder holds a run already, and, before anything is written, a
  /// ConfigError when it holds anything else (a model, data). All ranks of controls.group call it,
  /// as the others.
  RunSummary start(const RunControls& controls = {});
  /// Goes on from the newest whole checkpoint, with a warning for each newer one that is damaged
  /// and a line that names the step; throws when there is none, and a ConfigError that lists what
  /// differs when the settings are another run's (steps, periods, threads and the places of data
  /// may change) or when files hold other data. On one device the result is bit for bit that of a
  /// run that was never interrupted; other train.steps move the schedule of the learning rate,
  /// which is said, unless train.schedule.keep holds it.
  RunSummary resume(const RunControls& controls = {});
  /// resume() if there are checkpoints, else start().
  RunSummary resume_or_start(const RunControls& controls = {});

  /// The same summary of what the folder's metrics.jsonl holds, at any time. Throws moe::Error when
  /// there is none.
  analyze::MetricSummary metrics() const;

  const RunOptions& options() const { return options_; }
  const Path& folder() const { return folder_; }

 private:
  RunSummary go(const std::optional<Path>& from, const RunControls& controls);

  RunOptions options_;
  Path folder_;
};

inline constexpr const char* kCheckpointsFolder = "checkpoints";

/// The newest whole checkpoint of the run in `folder`, as rank 0 finds it, on every rank, of those
/// whose step is a multiple of `every` (0: none); warns about each damaged one that it passes over.
/// Nothing where there is no checkpoint. Throws moe::Error where there are some and none is whole:
/// to start anew would lose them.
std::optional<Path> newest_checkpoint(const Path& folder, parallel::Communicator& group,
                                      int64_t every = 1);

/// A run's configuration with what train.init, where it is set, says of the rest: [model], unless
/// it is there, is the model of those weights, and data.tokenizer, unless it is there, the folder's
/// tokenizer. Where the folder `run` has checkpoints they say it, and train.init need not be there
/// any more. Throws as models::load_config does, and ConfigError for a folder that is not there and
/// for a Hugging Face directory without a tokenizer where data.tokenizer names none.
Table with_model_of_init(Table config, const Path& run = {});

/// The configuration with every default, also those of kinds, filled in: what a run writes to
/// config.toml.
Table resolved(const RunOptions& options);

}  // namespace moe::train
