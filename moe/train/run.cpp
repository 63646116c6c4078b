#include <moe/checkpoint/steps.h>
#include <moe/config/overrides.h>
#include <moe/config/toml.h>
#include <moe/train/run.h>
#include <moe/train/trainer.h>

namespace moe::train {

Table resolved(const RunOptions& options) {
  RunOptions full = options;
  full.model.options = models::families().at(options.model.family).resolve(options.model.options);
  return write_fields(full);
}

Run::Run(const RunOptions& options, const Path& folder) : options_(options), folder_(folder) {}

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

std::optional<Path> Run::newest() const {
  return checkpoint::latest_checkpoint(folder_ / "checkpoints");
}

RunSummary Run::go(const std::optional<Path>& from, const RunControls& controls) {
  Trainer trainer(options_, folder_);
  if (from) trainer.restore(*from);
  return trainer.train(controls);
}

RunSummary Run::start(const RunControls& controls) {
  check<ConfigError>(!newest(), "train", "expected a folder without a run, found checkpoints in ",
                     folder_.string(), ". Pass --resume to go on, or choose another --out.");
  return go(std::nullopt, controls);
}

RunSummary Run::resume(const RunControls& controls) {
  const auto checkpoint = newest();
  check<ConfigError>(checkpoint.has_value(), "train", "expected a checkpoint to resume from in ",
                     (folder_ / "checkpoints").string(), ", found none. Start without --resume.");
  return go(checkpoint, controls);
}

RunSummary Run::resume_or_start(const RunControls& controls) {
  return go(newest(), controls);
}

}  // namespace moe::train
