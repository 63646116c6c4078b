#pragma once
// Settings as TOML text.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <moe/base/value.h>

namespace moe::config {

/// The settings in `text`; Value::line is filled and keys keep their order. `source_name` names the
/// text in messages. Throws ConfigError with name, line and column for text that is not TOML 1.0,
/// for dates and times, and for more than toml_guard.h allows.
Table parse_toml(std::string_view text, const std::string& source_name);

/// parse_toml of a file of at most 16 MiB.
Table read_toml(const std::filesystem::path& path);

/// The value that `text` is in TOML ("3", "\"x\"", "[1, 2]"), or nothing when it is none.
std::optional<Value> parse_toml_value(std::string_view text);

/// `table` as a TOML file: plain keys first, then [sections] and [[lists of tables]]. Reads back to
/// the same settings; throws ConfigError for what TOML cannot hold (text that is not UTF-8,
/// nothing).
std::string write_toml(const Table& table);

}  // namespace moe::config
