#include <algorithm>
#include <regex>

#include <ATen/ops/full.h>

#include <moe/base/log.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>
#include <moe/config/differences.h>
#include <moe/config/overrides.h>
#include <moe/config/toml.h>
#include <moe/train/run.h>
#include <moe/train/trainer.h>

namespace moe::train {

namespace {

/// Settings that say how far, how often, where from, with how many threads and how much memory, and
/// leave the steps themselves as they are.
const std::regex kFree(
    R"(train\.(steps|threads|recompute|log_every|eval_every|eval_batches|checkpoint_every|keep|)"
    R"(keep_best|early_stop|on_nan|max_bad_steps|monitor\..*|tensorboard\..*)|)"
    R"(data\.domains\[\d+\]\.(path|train|valid|train_labels|valid_labels))");

/// Throws unless `options` continue the run that wrote `checkpoint`.
void check_same_run(const RunOptions& options, const Path& checkpoint, const Path& folder) {
  RunOptions then;
  read_fields(then, config::read_toml(checkpoint / "config.toml"), "");
  std::vector<std::string> changed;
  for (const auto& [key, was, is] : config::differences(resolved(then), resolved(options)))
    if (!std::regex_match(key, kFree)) changed.push_back(concat(key, ": was ", was, ", is ", is));
  if (!changed.empty())
    fail<ConfigError>("train", "expected the settings of the run in ", folder.string(), ", got ",
                      changed.size(), " other. Resume with ", (folder / "config.toml").string(),
                      ", or choose another --out.", indented_list(changed));
}

}  // namespace

Table resolved(const RunOptions& options) {
  RunOptions full = options;
  full.model.resolve();
  full.train.objective.resolve();
  full.train.optimizer.rule.resolve();
  return write_fields(full);
}

std::optional<Path> newest_checkpoint(const Path& folder, parallel::Communicator& group) {
  constexpr int64_t kNone = -1, kAllDamaged = -2;
  const Path checkpoints = folder / kCheckpointsFolder;
  Tensor step = at::full({}, kNone, at::kLong);
  if (group.rank() == 0) {
    if (const auto newest = checkpoint::latest_checkpoint(checkpoints))
      step.fill_(static_cast<int64_t>(checkpoint::step_of(*newest)));
    else if (!checkpoint::step_folders(checkpoints).empty())
      step.fill_(kAllDamaged);
  }
  group.broadcast(step, 0);
  const auto number = step.item<int64_t>();
  check(number != kAllDamaged, "train", "expected a whole checkpoint in ", checkpoints.string(),
        ", found damaged ones only. Mend what the warnings name, or choose another --out.");
  if (number == kNone) return std::nullopt;
  return checkpoint::locate_checkpoint(checkpoints /
                                       checkpoint::step_folder(static_cast<uint64_t>(number)));
}

Run::Run(const RunOptions& options, const Path& folder) : folder_(folder) {
  read_fields(options_, write_fields(options), "");  // validates what a program filled in
}

Run Run::from_toml(const Path& config, const std::vector<std::string>& overrides,
                   const Path& folder) {
  Table table = config::read_toml(config.string());
  for (const auto& text : overrides) config::apply_override(table, text);
  RunOptions options;
  try {
    read_fields(options, table, "");
  } catch (const ConfigError& error) {
    throw ConfigError(concat(error.what(), "\n  in ", config.string()));
  }
  return Run(options, folder.empty() ? Path("out") / config.stem() : folder);
}

RunSummary Run::go(const std::optional<Path>& from, const RunControls& controls) {
  if (!from) return Trainer(options_, folder_, controls).train();
  check_same_run(options_, *from, folder_);
  if (controls.group->rank() == 0) log::info(concat("going on from ", from->string()));
  Trainer trainer(options_, folder_, controls, Trainer::Begin::kFromCheckpoint);
  trainer.restore(*from);
  auto summary = trainer.train();
  summary.resumed_from = static_cast<int64_t>(checkpoint::step_of(*from));
  return summary;
}

analyze::MetricSummary Run::metrics() const {
  return analyze::summarise_metrics(folder_ / "metrics.jsonl");
}

RunSummary Run::start(const RunControls& controls) {
  check<ConfigError>(!newest_checkpoint(folder_, *controls.group), "train",
                     "expected a folder without a run, found checkpoints in ", folder_.string(),
                     ". Pass --resume to go on, or choose another --out.");
  return go(std::nullopt, controls);
}

RunSummary Run::resume(const RunControls& controls) {
  const auto checkpoint = newest_checkpoint(folder_, *controls.group);
  check<ConfigError>(checkpoint.has_value(), "train", "expected a checkpoint to resume from in ",
                     (folder_ / kCheckpointsFolder).string(),
                     ", found none. Start without --resume.");
  return go(checkpoint, controls);
}

RunSummary Run::resume_or_start(const RunControls& controls) {
  return go(newest_checkpoint(folder_, *controls.group), controls);
}

}  // namespace moe::train
