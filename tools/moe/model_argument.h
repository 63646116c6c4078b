#pragma once
// The model that commands run, what it runs on, and what results say of it.

#include <optional>
#include <string>
#include <vector>

#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

struct ModelArgument {
  std::string path;
  std::string device = "cpu";
  std::string dtype = "float32";
  int64_t threads = 0;
  bool no_verify = false;
  std::optional<int64_t> top_k = {};
};

/// MODEL, --device, --dtype, --threads, --no-verify and --set-moe.
void add_model(CLI::App& app, ModelArgument& o);
/// Sets the process's threads and loads the model as it was asked for.
models::LoadedModel load_model(const ModelArgument& o, bool with_tokenizer = true);

/// --no-verify, of every command that opens a checkpoint.
void add_no_verify(CLI::App& app, bool& no_verify);
/// --set-moe top_k=N; throws ConfigError for another setting and for what is no number above 0.
void add_set_moe(CLI::App& app, std::optional<int64_t>& top_k);

/// --budget B or B,B,…: how much of their choices layers compute. Throws ConfigError for what are
/// no numbers; whether they fit, the model says.
void add_budget(CLI::App& app, std::vector<double>& budget);
/// "budget" of a result, where --budget was given.
void add_budget(Json& document, const std::vector<double>& budget);

/// "checkpoint", the folder that a result comes from, and "step", null where no step is known.
void add_source(Json& document, const models::OpenedCheckpoint& checkpoint);
void add_source(Json& document, const models::LoadedModel& model);
/// "step 20 of DIR" and an end of line for people, or "" where no step is known.
std::string source_line(const models::LoadedModel& model);
/// "set_moe" of a result, where --set-moe was given.
void add_set_moe(Json& document, const std::optional<int64_t>& top_k);

}  // namespace moe::tools
