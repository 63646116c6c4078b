#include "tools/moe/planned_run.h"

#include <filesystem>

#include <moe/config/toml.h>
#include <moe/models/load.h>
#include <moe/models/zoo.h>
#include <moe/train/run.h>

#include "tools/moe/common.h"

namespace moe::tools {

train::RunOptions planned_run(const std::string& config, const std::string& model,
                              const std::vector<std::string>& settings) {
  check_input_file("CONFIG.toml", config);
  Table table = config::read_toml(config);
  if (!model.empty()) {
    auto known = models::known_model(model);
    table.set("model", write_fields(known.spec));
  }
  apply_settings(table, settings);
  table = train::with_model_of_init(std::move(table));
  check<ConfigError>(table.find("model") != nullptr, "plan", "expected a [model] section in '",
                     config, "', found none. Add it, or name a published model with --model.");
  train::RunOptions out;
  read_fields(out, table, "");
  return out;
}

models::ModelSpec spec_of_subject(const std::string& subject) {
  std::error_code ignored;
  if (!std::filesystem::exists(subject, ignored) && models::is_known_model(subject))
    return models::known_model(subject).spec;
  check<ConfigError>(std::filesystem::exists(subject, ignored), "--model",
                     "expected a run, a CONFIG.toml or a published model (moe inspect --list "
                     "model), got '",
                     subject, "', which is none. Name one with --model.");
  const Table table = std::filesystem::is_directory(subject, ignored)
                          ? models::load_config(subject, /*verify=*/false)
                          : config::read_toml(subject);
  const Value* section = table.find("model");
  check<ConfigError>(section && section->as<Table>(), "--model", "expected a [model] section in '",
                     subject, "', found none. Name the configuration of a run.");
  models::ModelSpec out;
  read_fields(out, *section->as<Table>(), "model");
  return out;
}

}  // namespace moe::tools
