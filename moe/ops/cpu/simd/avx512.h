#pragma once
// 16 float32 a register. In an unnamed namespace, as everything that is compiled for one
// instruction set: the linker must never pick such a copy for other callers.

#include <immintrin.h>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

struct Avx512 {
  using V = __m512;
  static constexpr int kWidth = 16;
  // 14 x 2 sums, 2 columns of B and a broadcast value of A: 31 of 32 registers.
  static constexpr int kRows = 14, kColumnVectors = 2;
  // 14 sums and 16 columns of B on their way through the transposition: 30.
  static constexpr int kTransposingRows = 14;

  static __mmask16 first(int64_t n) {
    return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1);
  }
  static V zero() { return _mm512_setzero_ps(); }
  static V all(float x) { return _mm512_set1_ps(x); }
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, V x) { _mm512_storeu_ps(p, x); }

  /// The first n values (at most 16), then zeros; nothing beyond them is touched.
  static V load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static V load_first(const BFloat16* p, int64_t n) {
    return widen(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static void store_first(float* p, int64_t n, V x) { _mm512_mask_storeu_ps(p, first(n), x); }
  static void store_first(BFloat16* p, int64_t n, V x) {
    _mm256_mask_storeu_epi16(p, first(n), narrow(x));
  }
  /// A whole register past the caches; p is a multiple of its size.
  static void store_streaming(float* p, V x) { _mm512_stream_ps(p, x); }
  static void store_streaming(BFloat16* p, V x) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(x));
  }
  static void fence() { _mm_sfence(); }
  static V rounded(V x, const float*) { return x; }
  static V rounded(V x, const BFloat16*) { return widen(narrow(x)); }

  /// Up to 32 values as 16 pairs.
  static V load_pairs(const BFloat16* p, int64_t n) {
    const __mmask32 mask = n >= 32 ? ~__mmask32(0) : n <= 0 ? 0 : (__mmask32(1) << n) - 1;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, p));
  }
  /// Pairs of values of two rows, the second perhaps null (zeros).
  static V pair_up(const BFloat16* low, const BFloat16* high, int64_t n) {
    const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), low));
    if (!high) return _mm512_castsi512_ps(a);
    const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), high));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
  }

  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V subtract(V a, V b) { return _mm512_sub_ps(a, b); }
  static V multiply(V a, V b) { return _mm512_mul_ps(a, b); }
  static V divide(V a, V b) { return _mm512_div_ps(a, b); }
  /// b where either is NaN.
  static V smaller(V a, V b) { return _mm512_min_ps(a, b); }
  static V larger(V a, V b) { return _mm512_max_ps(a, b); }
  static V nearest(V a) { return _mm512_roundscale_ps(a, 0); }
  static V power_of_two(V whole) { return _mm512_scalef_ps(all(1), whole); }
  static V absolute(V a) { return _mm512_abs_ps(a); }
  /// |a| with the sign of s.
  static V with_sign(V a, V s) {
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(s), _mm512_castps_si512(a), 0xca));
  }
  /// x where a > 0, else 0.
  static V where_positive(V a, V x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, zero(), _CMP_GT_OQ), x);
  }

  /// r[i][j] <-> r[j][i]: pairs of rows, then of pairs, then the 128-bit quarters.
  static void transpose(V* r) {
    V t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      r[i] = low(t[i], t[i + 2]);
      r[i + 1] = high(t[i], t[i + 2]);
      r[i + 2] = low(t[i + 1], t[i + 3]);
      r[i + 3] = high(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const V a = _mm512_shuffle_f32x4(r[j], r[j + 4], 0x44);
      const V b = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0x44);
      const V c = _mm512_shuffle_f32x4(r[j], r[j + 4], 0xee);
      const V d = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0xee);
      t[j] = _mm512_shuffle_f32x4(a, b, 0x88);
      t[j + 4] = _mm512_shuffle_f32x4(a, b, 0xdd);
      t[j + 8] = _mm512_shuffle_f32x4(c, d, 0x88);
      t[j + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }

 protected:
  static V widen(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }

 private:
  static V low(V a, V b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
  static V high(V a, V b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
  /// To the nearest, ties to even; NaN stays NaN.
  static __m256i narrow(V x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i safe = _mm512_mask_mov_epi32(up, nan, _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(safe, 16));
  }
};

}  // namespace

}  // namespace moe::ops::cpu
