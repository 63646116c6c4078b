#pragma once
// bfloat16: the upper half of a float32, so that widening is a shift. Instructions that multiply
// pairs take it as it is. In an unnamed namespace: see simd/avx512.h.

#include <moe/ops/cpu/formats/plain.h>

namespace moe::ops::cpu {

namespace {

struct BFloat16Format : PlainFormat<BFloat16> {
  template <class Simd>
  static typename Simd::V floats(Row p, int64_t n) {
    return Simd::load_first(p, n);
  }
  /// Pairs of adjacent numbers of a row: up to two registers' worth of numbers.
  template <class Simd>
  static typename Simd::V pairs_along(Row p, int64_t n) {
    return Simd::load_pairs(p, n);
  }
  /// Pairs of numbers that stand below each other in two rows, the lower perhaps null (zeros).
  template <class Simd>
  static typename Simd::V pairs_across(Row p, Row lower, int64_t n) {
    return Simd::pair_up(p, lower, n);
  }
};

}  // namespace

}  // namespace moe::ops::cpu
