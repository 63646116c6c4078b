#pragma once
// idx files made in memory.

#include <cstdint>
#include <string>
#include <vector>

namespace moe::test {

/// Two zero bytes, the type, the number of dimensions, their sizes, and `values`.
inline std::string idx_of(const std::vector<uint32_t>& shape, const std::string& values,
                          char type = 8) {
  std::string out = {0, 0, type, static_cast<char>(shape.size())};
  for (const uint32_t size : shape)
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 255);
  return out + values;
}

}  // namespace moe::test
