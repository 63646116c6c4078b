#pragma once
// What a hostile TOML file may cost. A parser builds one table a dot of a key and frees them
// recursively, so that a megabyte of dots would exhaust the stack: such text must not reach it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moe::config {

struct TomlLimits {
  static constexpr uint64_t kFileBytes = uint64_t{16} << 20;
  /// Tables and lists in each other, and parts of a dotted key.
  static constexpr int64_t kDepth = 32;
  static constexpr int64_t kValues = int64_t{1} << 20;
  /// Keys and section headers; the parser's time grows with their square.
  static constexpr int64_t kKeys = int64_t{1} << 16;
  static constexpr int64_t kKeysPerTable = 1024;
};

/// Something wrong at a place of the text, counted from 1.
struct TomlProblem {
  std::string what;
  int64_t line = 0;
  int64_t column = 0;
};

/// The first place where `text` is too long, has too many parts in a key, too many keys
/// or too many values.
/// Nothing is allocated; text that is not TOML passes, the parser refuses it.
std::optional<TomlProblem> find_excess(std::string_view text);

}  // namespace moe::config
