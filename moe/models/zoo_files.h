#pragma once

#include <span>
#include <string_view>

namespace moe::models {

/// A file of zoo/, put into the library when it is configured.
struct ZooFile {
  std::string_view name, text;
};
/// By name.
std::span<const ZooFile> zoo_files();

}  // namespace moe::models
