#pragma once
// idx: arrays of bytes as the MNIST digits come, plain or compressed with gzip.
//
// Layout, big-endian: two zero bytes, the type (8: unsigned bytes), the number of dimensions, 4
// bytes for the size of each, then the values, the last dimension fastest.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <moe/base/files.h>

namespace moe::formats {

inline constexpr size_t kIdxMostDimensions = 4;

/// Unsigned bytes in a shape of one to four dimensions. `owner` keeps `values` alive: a mapped
/// file, or memory where the file is compressed.
struct IdxArray {
  std::vector<int64_t> shape;
  std::span<const uint8_t> values;
  std::shared_ptr<const void> owner;
};

/// The array in the bytes `file`, which `owner` keeps alive; `origin` names them in messages.
/// Throws moe::Error for another type, for dimensions of 0, and unless the values fill what follows
/// the header exactly. Allocates only what a compressed file of its size can hold.
IdxArray read_idx(std::span<const std::byte> file, const std::string& origin,
                  std::shared_ptr<const void> owner);
/// The array in `file`, which stays mapped as long as it.
IdxArray read_idx(const std::shared_ptr<const MappedFile>& file);

}  // namespace moe::formats
