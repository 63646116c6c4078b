#pragma once

#include <string>

#include "tools/moe/common.h"

namespace moe::tools {

/// Prints every registered kind with its options, or those of the list called `only`. Throws
/// ConfigError for another name.
void list_kinds(const std::string& only, bool json);

}  // namespace moe::tools
