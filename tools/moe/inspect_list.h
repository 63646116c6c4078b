#pragma once

#include <string>

#include "tools/moe/common.h"

namespace moe::tools {

/// Prints every registered kind with its options, or those of the list called `only`. Throws
/// ConfigError for another name.
void list_kinds(const std::string& only, bool json);

/// Prints what the MoE layers of a published model are made of, as TOML or one JSON document with
/// it. Throws ConfigError for an unknown model, with the nearest name, and for a dense one.
void print_recipe(const std::string& model, bool json);

}  // namespace moe::tools
