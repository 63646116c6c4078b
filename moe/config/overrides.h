#pragma once

#include <string>
#include <string_view>

#include <moe/base/value.h>

namespace moe::config {

/// Applies one `--set`: "a.b[0].c=value". Tables on the way are made, list items must exist; a part
/// with other characters than letters, digits, '_' and '-' stands in double quotes. The value is
/// read as TOML (3, 1e-4, true, "x", [1, 2], {a = 1}), and taken as a string where it is none.
/// Throws ConfigError for text that is no UTF-8, a malformed path, a missing list item, or a part
/// that is no table or list.
void apply_override(Table& table, std::string_view setting);

}  // namespace moe::config
