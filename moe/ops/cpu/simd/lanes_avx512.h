#pragma once
// Comparisons and sums across the lanes of a register. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/avx512.h>

namespace moe::ops::cpu {

namespace {

struct Avx512Lanes : Avx512 {
  /// The first n values (at most 16), then `rest`; nothing beyond them is touched.
  static V load_or(const float* p, int64_t n, float rest) {
    return _mm512_mask_loadu_ps(all(rest), first(n), p);
  }
  /// Bit i: lane i of a is above that of b (not less); false for NaN.
  static uint32_t above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static uint32_t at_least(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  /// x where a > b, else y.
  static V where_above(V a, V b, V x, V y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
  }
  static float largest(V a) { return _mm512_reduce_max_ps(a); }
  static float smallest(V a) { return _mm512_reduce_min_ps(a); }
  static float sum(V a) { return _mm512_reduce_add_ps(a); }
};

}  // namespace

}  // namespace moe::ops::cpu
