#pragma once
// The model that eval, generate and forward run, and what it runs on.

#include <string>

#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

struct ModelArgument {
  std::string path;
  std::string device = "cpu";
  std::string dtype = "float32";
  int64_t threads = 0;
};

/// MODEL, --device, --dtype and --threads.
void add_model(CLI::App& app, ModelArgument& o);
/// Sets the process's threads and loads the model as it was asked for.
models::LoadedModel load_model(const ModelArgument& o, bool with_tokenizer = true);

}  // namespace moe::tools
