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
    R"(parallel\..*|)"              // which change no result
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

/// A text of a section of a configuration; null where there is none.
const std::string* text_in(const Table& config, const char* section, const char* key) {
  const Value* const table = config.find(section);
  const Value* const value = table && table->as<Table>() ? table->as<Table>()->find(key) : nullptr;
  return value ? value->as<std::string>() : nullptr;
}

/// The configuration in the newest checkpoint of the run in `folder` that has a whole one.
std::optional<Table> config_of_run(const Path& folder) {
  if (folder.empty()) return std::nullopt;
  for (const auto& checkpoint : checkpoint::step_folders(folder / kCheckpointsFolder)) {
    try {
      auto out = config::read_toml(checkpoint / "config.toml");
      if (out.find("model")) return out;
    } catch (const Error&) {
      // Damaged: an older one says the same.
    }
  }
  return std::nullopt;
}

/// train.init, which must be there.
Path init_folder(const std::string& init) {
  std::error_code ignored;
  check<ConfigError>(std::filesystem::is_directory(init, ignored), "train",
                     "expected train.init to be the folder of a model, found none at '", init,
                     "'. Correct the path; relative ones start at the working directory.");
  return init;
}

/// The tokenizer in the folder of train.init; empty where its tokens are bytes.
std::string tokenizer_of_init(const Path& init) {
  const bool foreign = models::is_foreign(init);
  const Path holder = foreign ? init : models::open_checkpoint(init, /*verify=*/false).folder;
  const Path out = models::tokenizer_file_in(holder);
  check<ConfigError>(!out.empty() || !foreign, "train",
                     "expected a tokenizer.json or tokenizer.model in train.init = '",
                     init.string(),
                     "', found none. Name one as data.tokenizer; \"byte\" takes bytes for tokens.");
  return out.string();
}

/// What may stand in the folder of a new run: what a run writes that has no checkpoint yet, its
/// configuration, and what a shell writes of its output.
const std::regex kMayStand(
    R"(\..*|.*\.(toml|log|out|err)|checkpoints|metrics\.jsonl|exchange\.json|report\.html|tensorboard)");

/// What is in the way of a new run in `folder`.
std::vector<std::string> in_the_way(const Path& folder) {
  auto& files = real_files();
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) return {};
  if (!std::filesystem::is_directory(folder, ignored)) return {folder.string()};
  const auto names = files.list(folder);
  const auto is_there = [&](const char* name) { return std::ranges::count(names, name) > 0; };
  if (is_there(kConfigFile) && is_there("metrics.jsonl")) return {};  // a run
  std::vector<std::string> out;
  std::ranges::copy_if(names, std::back_inserter(out),
                       [](const std::string& name) { return !std::regex_match(name, kMayStand); });
  return out;
}

/// Throws ConfigError on all ranks where rank 0 finds something else than a run in `folder`: a
/// model, data.
void check_is_free(const Path& folder, parallel::Communicator& group) {
  constexpr size_t kNamesShown = 8;
  const auto found = group.rank() == 0 ? in_the_way(folder) : std::vector<std::string>();
  Tensor count = at::full({}, static_cast<int64_t>(found.size()), at::kLong);
  group.broadcast(count, 0);
  if (count.item<int64_t>() > 0)
    fail<ConfigError>(
        "train", "expected a new or empty folder, or that of a run, found other things in '",
        folder.string(), "'. Choose another --out.", indented_list(found, kNamesShown));
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

Table with_model_of_init(Table config, const Path& run) {
  const auto* const source = text_in(config, "train", "init");
  const Value* const data = config.find("data");
  const bool reads = data && data->as<Table>() && !data->as<Table>()->find("tokenizer");
  if (!source || source->empty() || (config.find("model") && !reads)) return config;
  // A run that goes on asks its own checkpoint: the folder that it began from may be gone.
  const auto begun = config_of_run(run);
  if (!config.find("model"))
    config.set("model", begun ? *begun->find("model")
                              : *models::load_config(init_folder(*source), false).find("model"));
  if (!reads) return config;
  const auto* const before = begun ? text_in(*begun, "data", "tokenizer") : nullptr;
  const std::string tokenizer = before ? *before : tokenizer_of_init(init_folder(*source));
  if (!tokenizer.empty()) config.find("data")->as<Table>()->set("tokenizer", tokenizer);
  return config;
}

Run::Run(const RunOptions& options, const Path& folder) : folder_(folder) {
  read_fields(options_, write_fields(options), "");  // validates what a program filled in
}

Run Run::from_toml(const Path& config, const std::vector<std::string>& overrides,
                   const Path& folder) {
  Table table = config::read_toml(config.string());
  for (const auto& text : overrides) config::apply_override(table, text);
  const Path out = folder.empty() ? Path("out") / config.stem() : folder;
  table = with_model_of_init(std::move(table), out);
  RunOptions options;
  try {
    read_fields(options, table, "");
  } catch (const ConfigError& error) {
    throw ConfigError(concat(error.what(), "\n  in ", config.string()));
  }
  return Run(options, out);
}

RunSummary Run::go(const std::optional<Path>& from, const RunControls& controls) {
  const auto sources = record_sources(options_);
  if (!from) check_is_free(folder_, *controls.group);
  if (!from) return Trainer(options_, folder_, controls, sources).train();
  const RunOptions then = options_of(*from);
  const auto step = static_cast<int64_t>(checkpoint::step_of(*from));
  check_same_run(options_, then, *from, folder_);
  check_same_sources(options_, sources, *from, controls);
  const bool leads = controls.group->rank() == 0;
  if (leads) log::info(concat("going on from ", from->string()));
  Trainer trainer(with_schedule(options_, then, step, leads), folder_, controls, sources, from);
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
