#pragma once
// Rows on their way between ranks. R rows, D width.

#include <string>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

using at::Tensor;

/// In which type the numbers of a row travel.
enum class RowFormat {
  kFull,      // their own
  kBFloat16,  // 16 bits: 8 of a significand
  kFloat8,    // 8 bits (e4m3: 4 of a significand) and a float32 scale a row
  kInt8,      // 8 bits and a float32 scale a row
};

/// "full", "bfloat16", "float8" or "int8". Throws ConfigError naming `option` for anything else.
RowFormat parse_row_format(const std::string& name, const std::string& option);
/// Bytes of a row of D numbers of `type` on its way.
int64_t row_bytes(int64_t width, at::ScalarType type, RowFormat format);

/// rows_RD as they travel. A number x of row r becomes round(x / s_r) with s_r = max |x| of the row
/// / m: m = 127 for int8, rounded to the nearest integer; m = 448 for float8, rounded to the
/// nearest e4m3; ties to even in both. bfloat16: the nearest, without a scale. 8-bit formats: (R, D
/// + 4) uint8, the scale in the last 4 bytes. Rows of integers, and 16-bit rows as bfloat16 or
/// full, travel as they are. Without gradient.
Tensor encoded_rows(const Tensor& rows_RD, RowFormat format);
/// (R, D) of `type`: what the numbers that encoded_rows made stand for. A row with an infinity or a
/// NaN in it is read as NaN throughout in 8-bit formats.
Tensor decoded_rows(const Tensor& encoded, at::ScalarType type, RowFormat format);

}  // namespace moe::parallel
