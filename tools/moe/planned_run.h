#pragma once
// The run that a plan is for, and the model whose widths a placement needs.

#include <string>
#include <vector>

#include <moe/train/options.h>

namespace moe::tools {

/// The run that a TOML file describes, with `settings`; `model`, unless it is empty, is the
/// published model that stands for its [model]. Throws ConfigError as training would.
train::RunOptions planned_run(const std::string& config, const std::string& model,
                              const std::vector<std::string>& settings);

/// The model of a run or checkpoint, of a TOML file, or a published one by name. Throws
/// ConfigError.
models::ModelSpec spec_of_subject(const std::string& subject);

}  // namespace moe::tools
