#pragma once
// Matrices where they stand in memory, in any format of numbers. No libtorch here.

#include <cstdint>

namespace moe::ops {

/// How numbers are stored. A format is one file in cpu/formats/ and one line in cpu/formats/all.h.
enum class NumberFormat : uint8_t { kFloat32, kBFloat16 };
inline constexpr int kFormats = 2;

/// Bytes of n numbers.
constexpr int64_t bytes_of(NumberFormat format, int64_t n = 1) {
  return n * (format == NumberFormat::kFloat32 ? 4 : 2);
}

/// A matrix each of whose rows is contiguous: row r begins row_bytes * (index ? index[r] : r) bytes
/// behind `data`.
struct Matrix {
  NumberFormat format = NumberFormat::kFloat32;
  const void* data = nullptr;
  int64_t row_bytes = 0;
  /// Which row of memory is row r, for rows that are gathered; null: row r itself.
  const int64_t* index = nullptr;
  /// For formats whose numbers share scales; those of a row stand scale_row_bytes behind those of
  /// the row before.
  const void* scales = nullptr;
  int64_t scale_row_bytes = 0;

  const char* row(int64_t r) const {
    return static_cast<const char*>(data) + (index ? index[r] : r) * row_bytes;
  }
};

}  // namespace moe::ops
