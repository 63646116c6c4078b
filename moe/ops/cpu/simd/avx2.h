#pragma once
// 8 float32 a register, with FMA. In an unnamed namespace: see avx512.h.

#include <immintrin.h>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

struct Avx2 {
  using V = __m256;
  static constexpr int kWidth = 8;
  // 6 x 2 sums, 2 columns of B and a broadcast value of A: 15 of 16 registers.
  static constexpr int kRows = 6, kColumnVectors = 2;
  // 10 sums beside 8 transposed columns of B, which then wait on the stack: cheaper than the same
  // transposition twice. From 11 on it is not.
  static constexpr int kTransposingRows = 10;

  static __m256i first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)), lane);
  }
  static V zero() { return _mm256_setzero_ps(); }
  static V all(float x) { return _mm256_set1_ps(x); }
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, V x) { _mm256_storeu_ps(p, x); }

  /// The first n values (at most 8), then zeros; nothing beyond them is touched.
  static V load_first(const float* p, int64_t n) {
    return n >= 8 ? load(p) : _mm256_maskload_ps(p, first(n));
  }
  static V load_first(const BFloat16* p, int64_t n) {
    if (n >= 8) return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    BFloat16 some[8] = {};
    for (int64_t i = 0; i < n; ++i) some[i] = p[i];
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(some)));
  }
  static void store_first(float* p, int64_t n, V x) {
    if (n >= 8) return store(p, x);
    _mm256_maskstore_ps(p, first(n), x);
  }
  static void store_first(BFloat16* p, int64_t n, V x) {
    if (n >= 8) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(x));
    BFloat16 some[8];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(some), narrow(x));
    for (int64_t i = 0; i < n; ++i) p[i] = some[i];
  }
  /// A whole register past the caches; p is a multiple of its size.
  static void store_streaming(float* p, V x) { _mm256_stream_ps(p, x); }
  static void store_streaming(BFloat16* p, V x) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow(x));
  }
  static void fence() { _mm_sfence(); }
  static V rounded(V x, const float*) { return x; }
  static V rounded(V x, const BFloat16*) { return widen(narrow(x)); }

  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V subtract(V a, V b) { return _mm256_sub_ps(a, b); }
  static V multiply(V a, V b) { return _mm256_mul_ps(a, b); }
  static V divide(V a, V b) { return _mm256_div_ps(a, b); }
  /// b where either is NaN.
  static V smaller(V a, V b) { return _mm256_min_ps(a, b); }
  static V larger(V a, V b) { return _mm256_max_ps(a, b); }
  static V nearest(V a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static V power_of_two(V whole) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static V absolute(V a) { return _mm256_andnot_ps(all(-0.0f), a); }
  /// |a| with the sign of s.
  static V with_sign(V a, V s) { return _mm256_or_ps(absolute(a), _mm256_and_ps(all(-0.0f), s)); }
  /// x where a > 0, else 0.
  static V where_positive(V a, V x) {
    return _mm256_and_ps(_mm256_cmp_ps(a, zero(), _CMP_GT_OQ), x);
  }

  /// r[i][j] <-> r[j][i]: pairs of rows, then of pairs, then the 128-bit halves.
  static void transpose(V* r) {
    V t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      t[j] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x20);
      t[j + 4] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = t[i];
  }

 private:
  static V widen(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  /// To the nearest, ties to even; NaN stays NaN.
  static __m128i narrow(V x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i safe = _mm256_blendv_epi8(up, _mm256_set1_epi32(0x7fc00000), nan);
    const __m256i half = _mm256_srli_epi32(safe, 16);
    const __m256i packed = _mm256_packus_epi32(half, half);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
  }
};

}  // namespace

}  // namespace moe::ops::cpu
