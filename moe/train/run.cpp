#include <algorithm>
#include <regex>

#include <ATen/ops/full.h>

#include <moe/base/log.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>
#include <moe/config/differences.h>
#include <moe/config/overrides.h>
#include <moe/config/toml.h>
#include <moe/models/load.h>
#include <moe/train/run.h>
#include <moe/train/schedule.h>
#include <moe/train/sources.h>
#include <moe/train/trainer.h>

namespace moe::train {

namespace {

/// Settings that say how far, how often, where from, with how many threads and how much memory, and
/// leave the steps themselves as they are (threads: but for rounding). Steps and the schedule's
/// length move the learning rate only as schedule_change says.
const std::regex kFree(
    R"(train\.(steps|threads|recompute|init|log_every|eval_every|eval_batches|checkpoint_every|keep|)"
    R"(keep_best|early_stop|max_bad_steps|schedule\.(steps|keep)|monitor\.(overload|every)|)"
    R"(tensorboard\.(enabled|sample_tokens|sample_prompt))|)"
    R"(data\.domains\[\d+\]\.(path|train|valid|train_labels|valid_labels)|)"
    R"(data\.tokenizer|)"           // what these hold is checked: sources.h
    R"(model\..*(\.path|_file))");  // what these held is in the checkpoint

RunOptions options_of(const Path& checkpoint) {
  RunOptions out;
  read_fields(out, config::read_toml(checkpoint / "config.toml"), "");
  return out;
}

/// Whether a setting may change here, although it decides in other runs what steps do.
bool may_change(const std::string& key, const RunOptions& then, const RunOptions& now,
                const Path& checkpoint) {
  if (std::regex_match(key, kFree))
    // Where checkpoints are is where rollbacks go.
    return key != "train.checkpoint_every" || now.train.on_nan != "rollback";
  if (key != "train.on_nan") return false;
  // A run that stops at the first bad step has had none yet, and takes none after.
  const bool none_yet =
      RunRecord::from_metadata(checkpoint::read_manifest(checkpoint).metadata).bad_until == 0;
  return now.train.on_nan == "stop" || (then.train.on_nan == "stop" && none_yet);
}

/// Throws unless `options` continue the run that wrote `checkpoint`, whose own are `then`.
void check_same_run(const RunOptions& options, const RunOptions& then, const Path& checkpoint,
                    const Path& folder) {
  std::vector<std::string> changed;
  for (const auto& [key, was, is] : config::differences(resolved(then), resolved(options)))
    if (!may_change(key, then, options, checkpoint))
      changed.push_back(concat(key, ": was ", was, ", is ", is));
  if (!changed.empty())
    fail<ConfigError>("train", "expected the settings of the run in ", folder.string(), ", got ",
                      changed.size(), " other. Resume with ", (folder / "config.toml").string(),
                      ", or choose another --out.", indented_list(changed));
}

/// `options` with the schedule of the options `then`, where they say so, and a word on what becomes
/// of the learning rate behind `step` steps.
RunOptions with_schedule(RunOptions options, const RunOptions& then, int64_t step, bool speaks) {
  auto& schedule = options.train.schedule;
  const int64_t steps = schedule_steps(then.train);
  if (schedule.keep) {
    check<ConfigError>(schedule.steps == 0 || schedule.steps == steps, "train",
                       "expected train.schedule.steps = 0 or the run's ", steps,
                       " beside train.schedule.keep = true, got ", schedule.steps,
                       ". Set one of them.");
    schedule.steps = steps;
  }
  const std::string change = schedule_change(then.train, options.train, step);
  if (speaks && !change.empty()) log::warn(change);
  return options;
}

}  // namespace

Table resolved(const RunOptions& options) {
  RunOptions full = options;
  full.model.resolve();
  full.train.objective.resolve();
  full.train.optimizer.rule.resolve();
  return write_fields(full);
}

std::optional<Path> newest_checkpoint(const Path& folder, parallel::Communicator& group,
                                      int64_t every) {
  constexpr int64_t kNone = -1, kAllDamaged = -2;
  const Path checkpoints = folder / kCheckpointsFolder;
  const auto wanted = [every](uint64_t step) {
    return every > 0 && step % static_cast<uint64_t>(every) == 0;
  };
  Tensor step = at::full({}, kNone, at::kLong);
  if (group.rank() == 0) {
    if (const auto newest = checkpoint::latest_checkpoint(checkpoints, real_files(), wanted))
      step.fill_(static_cast<int64_t>(checkpoint::step_of(*newest)));
    else if (std::ranges::any_of(checkpoint::step_folders(checkpoints), wanted,
                                 checkpoint::step_of))
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

Table with_model_of_init(Table config) {
  const Value* const train = config.find("train");
  const Value* const init =
      train && train->as<Table>() ? train->as<Table>()->find("init") : nullptr;
  const auto* const source = init ? init->as<std::string>() : nullptr;
  if (!source || source->empty()) return config;
  if (!config.find("model"))
    config.set("model", *models::load_config(*source, /*verify=*/false).find("model"));
  // What a run wrote down says all of it: the folder may be gone when the run goes on.
  Value* const section = config.find("data");
  Table* const data = section ? section->as<Table>() : nullptr;
  if (!data || data->find("tokenizer")) return config;
  const bool foreign = models::is_foreign(*source);
  const Path holder =
      foreign ? Path(*source) : models::open_checkpoint(*source, /*verify=*/false).folder;
  const Path tokenizer = models::tokenizer_file_in(holder);
  check<ConfigError>(!tokenizer.empty() || !foreign, "train",
                     "expected a tokenizer.json or tokenizer.model in train.init = '", *source,
                     "', found none. Name one as data.tokenizer; \"byte\" takes bytes for tokens.");
  if (!tokenizer.empty()) data->set("tokenizer", tokenizer.string());
  return config;
}

Run::Run(const RunOptions& options, const Path& folder) : folder_(folder) {
  read_fields(options_, write_fields(options), "");  // validates what a program filled in
}

Run Run::from_toml(const Path& config, const std::vector<std::string>& overrides,
                   const Path& folder) {
  Table table = config::read_toml(config.string());
  for (const auto& text : overrides) config::apply_override(table, text);
  table = with_model_of_init(std::move(table));
  RunOptions options;
  try {
    read_fields(options, table, "");
  } catch (const ConfigError& error) {
    throw ConfigError(concat(error.what(), "\n  in ", config.string()));
  }
  return Run(options, folder.empty() ? Path("out") / config.stem() : folder);
}

RunSummary Run::go(const std::optional<Path>& from, const RunControls& controls) {
  const auto sources = record_sources(options_);
  if (!from) return Trainer(options_, folder_, controls, sources).train();
  const RunOptions then = options_of(*from);
  const auto step = static_cast<int64_t>(checkpoint::step_of(*from));
  check_same_run(options_, then, *from, folder_);
  check_same_tokenizer(options_, *from);
  check_same_sources(options_, sources, *from, controls);
  const bool leads = controls.group->rank() == 0;
  if (leads) log::info(concat("going on from ", from->string()));
  Trainer trainer(with_schedule(options_, then, step, leads), folder_, controls, sources,
                  Trainer::Begin::kFromCheckpoint);
  trainer.restore(*from);
  auto summary = trainer.train();
  summary.resumed_from = step;
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
