#pragma once

#include <optional>
#include <string>
#include <vector>

#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

/// A model that `moe inspect` was asked about.
struct Subject {
  /// What people call it: a name, a folder, a file.
  std::string name;
  /// Of another program's model its family, of ours the architecture.
  std::string family;
  models::ModelSpec spec;
  /// Where it is a checkpoint of ours.
  std::optional<models::OpenedCheckpoint> checkpoint = {};
  /// Of a published model: its counts as the authors give them, and what to know beside them.
  std::string published = {}, note = {};
};

/// Counts and sizes of a model, made unfilled for it; those in bytes as `dtype`, and for each type
/// beside.
Json facts_of(const Subject& subject, const std::string& dtype);
void print_facts(const Json& facts, const std::string& dtype);

/// One line a model, and the models that everybody compares with (dense ones, by name) behind them.
void print_models(const std::vector<Json>& facts, const std::string& dtype);

}  // namespace moe::tools
