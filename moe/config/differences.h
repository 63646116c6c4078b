#pragma once

#include <string>
#include <vector>

#include <moe/base/value.h>

namespace moe::config {

/// What differs between two configurations.
struct Difference {
  std::string key;      // dotted: "data.domains[0].path"
  std::string was, is;  // as TOML; "nothing" where the key is absent
};

/// Every key whose value differs, in the order of keys.
std::vector<Difference> differences(const Table& was, const Table& is);

}  // namespace moe::config
