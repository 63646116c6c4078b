#pragma once
// Ids of single characters, by code point.

#include <cstdint>
#include <vector>

namespace moe::data {

/// Immutable and thread-safe once filled.
class CharacterTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  void set(uint32_t code, uint32_t id) {
    if (code >= ids_.size()) ids_.resize(code + size_t{1}, kNone);
    ids_[code] = id;
  }
  uint32_t id(uint32_t code) const { return code < ids_.size() ? ids_[code] : kNone; }

 private:
  std::vector<uint32_t> ids_;  // at most as many as there are code points
};

}  // namespace moe::data
