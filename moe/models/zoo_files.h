#pragma once

#include <string_view>
#include <vector>

namespace moe::models {

/// A file of zoo/, put into the library when it is configured.
struct ZooFile {
  std::string_view name, text;
};
extern const std::vector<ZooFile> kZooFiles;

}  // namespace moe::models
