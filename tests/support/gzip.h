#pragma once
// gzip files made by hand: the content as it stands, in stored blocks.

#include <cstdint>
#include <string>
#include <string_view>

namespace moe::test {

inline uint32_t crc32_of(std::string_view text) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

inline std::string little_endian(uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 255);
  return out;
}

inline std::string gzip_of(std::string_view content) {
  std::string out("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
  std::string_view rest = content;
  do {
    const std::string_view part = rest.substr(0, 65535);
    rest.remove_prefix(part.size());
    const auto length = static_cast<uint32_t>(part.size());
    out += static_cast<char>(rest.empty());  // the last block
    out += little_endian(length, 2) + little_endian(~length, 2) + std::string(part);
  } while (!rest.empty());
  return out + little_endian(crc32_of(content), 4) +
         little_endian(static_cast<uint32_t>(content.size()), 4);
}

}  // namespace moe::test
