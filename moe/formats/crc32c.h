#pragma once
// CRC-32C (Castagnoli, RFC 3720 B.4), as TFRecord files check their records. No tensors.

#include <cstddef>
#include <cstdint>
#include <span>

namespace moe::formats {

/// Reflected polynomial 0x82f63b78, initial value and final inversion all ones:
/// crc32c("123456789") = 0xe3069283.
uint32_t crc32c(std::span<const std::byte> bytes);

/// What TFRecord stores, so that a checksum of data that holds checksums does not mislead: rotated
/// right by 15 bits, plus 0xa282ead8.
uint32_t masked_crc32c(std::span<const std::byte> bytes);

}  // namespace moe::formats
