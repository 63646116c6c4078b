#pragma once
// The run that train and compare take, and what it is computed with.

#include <optional>
#include <string>
#include <vector>

#include <moe/train/run.h>

#include "tools/moe/common.h"

namespace moe::tools {

struct RunArgument {
  std::string config, out;
  std::vector<std::string> settings;
  std::string dtype;
  std::string device = "cpu";
  int64_t threads = 0;
  bool allow_changed_data = false;
};

/// CONFIG.toml, --out, --set, --dtype, --device, --threads and --allow-changed-data.
void add_run(CLI::App& app, RunArgument& o);
/// Reads the configuration with what the options change in it, `--set` first, and sets the
/// process's threads. Throws ConfigError for what does not fit.
train::Run open_run(const RunArgument& o);

}  // namespace moe::tools
