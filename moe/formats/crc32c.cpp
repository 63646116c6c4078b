#include <array>
#include <bit>

#include <moe/formats/crc32c.h>

namespace moe::formats {

namespace {

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
    table[byte] = value;
  }
  return table;
}

constexpr auto kCrcTable = make_crc_table();

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint32_t value = ~0u;
  for (const std::byte byte : bytes)
    value = kCrcTable[(value ^ static_cast<uint32_t>(byte)) & 0xff] ^ (value >> 8);
  return ~value;
}

uint32_t masked_crc32c(std::span<const std::byte> bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

}  // namespace moe::formats
