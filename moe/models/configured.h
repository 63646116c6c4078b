#pragma once

#include <string>
#include <utility>

#include <moe/base/error.h>

namespace moe::models {

/// `message` with the file whose settings it is about, unless it names that already: behind the
/// first line, before a list.
std::string naming_file(const std::string& message, const std::string& file);

/// What `make` makes of the settings that `file` holds. Throws what it throws, as ConfigError that
/// names the file: for settings that came out of a folder, "lower top_k" alone would not say where.
template <class Make>
auto configured(const std::string& file, Make&& make) {
  try {
    return std::forward<Make>(make)();
  } catch (const Error& error) {
    throw ConfigError(naming_file(error.what(), file));
  }
}

}  // namespace moe::models
