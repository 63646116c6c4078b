#pragma once
// Comparisons and sums across the lanes of a vector. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/portable.h>

namespace moe::ops::cpu {

namespace {

struct PortableLanes : Portable {
  /// The first n values (at most 4), then `rest`; nothing beyond them is touched.
  static V load_or(const float* p, int64_t n, float rest) {
    if (n >= kWidth) return load(p);
    V x = all(rest);
    for (int64_t i = 0; i < n; ++i) x[i] = p[i];
    return x;
  }
  /// Bit i: lane i of a is above that of b (not less); false for NaN.
  static uint32_t above(V a, V b) { return bits(a > b); }
  static uint32_t at_least(V a, V b) { return bits(a >= b); }
  /// x where a > b, else y.
  static V where_above(V a, V b, V x, V y) { return a > b ? x : y; }
  static float largest(V a) {
    const float low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
  }
  static float smallest(V a) {
    const float low = a[0] < a[1] ? a[0] : a[1], high = a[2] < a[3] ? a[2] : a[3];
    return low < high ? low : high;
  }
  static float sum(V a) { return (a[0] + a[2]) + (a[1] + a[3]); }

 private:
  template <class Mask>
  static uint32_t bits(Mask mask) {
    uint32_t out = 0;
    for (int i = 0; i < kWidth; ++i) out |= (mask[i] ? 1u : 0u) << i;
    return out;
  }
};

}  // namespace

}  // namespace moe::ops::cpu
