#pragma once
// Settings as JSON. Does not include nlohmann-json: for headers and programs too.

#include <string>
#include <string_view>

#include <moe/base/value.h>

namespace moe::formats {

/// The object of at most 20,000 values that `text` holds; null becomes an empty Value. `what` names
/// it in messages. Throws moe::Error for whatever parse_strict_json refuses, and for numbers that
/// no int64 or double holds.
Table parse_json_table(std::string_view text, std::string_view place, std::string_view what);

/// `table` as JSON, indented, keys in their order. Throws moe::Error for numbers that JSON has not
/// (infinities, NaN).
std::string format_json_table(const Table& table);

}  // namespace moe::formats
