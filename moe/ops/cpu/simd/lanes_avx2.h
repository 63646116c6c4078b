#pragma once
// Comparisons and sums across the lanes of a register. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/avx2.h>

namespace moe::ops::cpu {

namespace {

struct Avx2Lanes : Avx2 {
  /// The first n values (at most 8), then `rest`; nothing beyond them is touched.
  static V load_or(const float* p, int64_t n, float rest) {
    if (n >= 8) return load(p);
    const __m256i mask = first(n);
    return _mm256_blendv_ps(all(rest), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
  }
  /// Bit i: lane i of a is above that of b (not less); false for NaN.
  static uint32_t above(V a, V b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static uint32_t at_least(V a, V b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
  /// x where a > b, else y.
  static V where_above(V a, V b, V x, V y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
  }
  static float largest(V a) {
    return across(a, [](__m128 x, __m128 y) { return _mm_max_ps(x, y); });
  }
  static float smallest(V a) {
    return across(a, [](__m128 x, __m128 y) { return _mm_min_ps(x, y); });
  }
  static float sum(V a) {
    return across(a, [](__m128 x, __m128 y) { return _mm_add_ps(x, y); });
  }

 private:
  template <class Function>
  static float across(V a, const Function& function) {
    __m128 half = function(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = function(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(function(half, _mm_shuffle_ps(half, half, 1)));
  }
};

}  // namespace

}  // namespace moe::ops::cpu
