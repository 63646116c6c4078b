#pragma once
// The header of a safetensors file: 8 bytes of length N (little-endian), N bytes of JSON, then the
// tensors back to back.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

namespace moe::formats {

inline constexpr uint64_t kSafetensorsMaxHeader =
    100'000'000;  // as in the reference implementation
inline constexpr size_t kSafetensorsMaxDims = 8;
inline constexpr uint64_t kSafetensorsAlignment = 64;

/// One tensor: bytes [begin, end) of the data that follows the header.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;
  uint64_t end;
};

struct SafetensorsHeader {
  std::vector<std::pair<std::string, TensorInfo>> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // position in the file
};

/// "BF16", …; nothing for types the format does not know.
std::optional<std::string> safetensors_name(at::ScalarType dtype);

/// Reads and checks the header of a whole `file`; `origin` names it in messages. Throws moe::Error
/// unless every tensor has a known dtype, a shape whose bytes are its range, and the ranges tile
/// the data without overlap, hole or rest.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& origin);

/// Length and JSON, padded with spaces so that the data begins at a multiple of 64. `data_begin` is
/// not read.
std::string format_safetensors_header(const SafetensorsHeader& header);

}  // namespace moe::formats
