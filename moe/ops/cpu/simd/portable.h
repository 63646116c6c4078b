#pragma once
// 4 float32 a vector of the compiler's own (GCC, Clang): any processor. Products and sums round
// separately, since FMA is not everywhere. In an unnamed namespace: see avx512.h.

#include <cmath>
#include <cstring>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

struct Portable {
  typedef float V __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;
  // 4 x 2 sums, 2 columns of B and a broadcast value of A: 11 of the 16 registers of SSE2.
  static constexpr int kRows = 4, kColumnVectors = 2;
  // 6 sums beside 4 transposed columns of B.
  static constexpr int kTransposingRows = 6;

  static V zero() { return V{}; }
  static V all(float x) { return V{x, x, x, x}; }
  static V load(const float* p) {
    V x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static void store(float* p, V x) { std::memcpy(p, &x, sizeof x); }

  /// The first n values (at most 4), then zeros; nothing beyond them is touched.
  static V load_first(const float* p, int64_t n) {
    if (n >= kWidth) return load(p);
    V x = zero();
    for (int64_t i = 0; i < n; ++i) x[i] = p[i];
    return x;
  }
  static V load_first(const BFloat16* p, int64_t n) {
    V x = zero();
    for (int64_t i = 0; i < n && i < kWidth; ++i) x[i] = widen(p[i]);
    return x;
  }
  static void store_first(float* p, int64_t n, V x) {
    for (int64_t i = 0; i < n && i < kWidth; ++i) p[i] = x[i];
  }
  static void store_first(BFloat16* p, int64_t n, V x) {
    for (int64_t i = 0; i < n && i < kWidth; ++i) p[i] = narrow(x[i]);
  }
  template <class T>
  static void store_streaming(T* p, V x) {
    store_first(p, kWidth, x);
  }
  static void fence() {}
  static V rounded(V x, const float*) { return x; }
  static V rounded(V x, const BFloat16*) {
    return each(x, [](float v) { return widen(narrow(v)); });
  }

  /// Up to 8 values as 4 pairs.
  static V load_pairs(const BFloat16* p, int64_t n) {
    BFloat16 pairs[2 * kWidth] = {};
    for (int64_t i = 0; i < n && i < 2 * kWidth; ++i) pairs[i] = p[i];
    return of_pairs(pairs);
  }
  /// Pairs of values of two rows, the second perhaps null (zeros).
  static V pair_up(const BFloat16* low, const BFloat16* high, int64_t n) {
    BFloat16 pairs[2 * kWidth] = {};
    for (int64_t i = 0; i < n && i < kWidth; ++i) {
      pairs[2 * i] = low[i];
      if (high) pairs[2 * i + 1] = high[i];
    }
    return of_pairs(pairs);
  }

  static V fma(V a, V b, V c) { return a * b + c; }
  static V add(V a, V b) { return a + b; }
  static V subtract(V a, V b) { return a - b; }
  static V multiply(V a, V b) { return a * b; }
  static V divide(V a, V b) { return a / b; }
  /// b where either is NaN.
  static V smaller(V a, V b) { return a < b ? a : b; }
  static V larger(V a, V b) { return a > b ? a : b; }
  static V nearest(V a) {
    return each(a, [](float v) { return std::nearbyintf(v); });
  }
  static V power_of_two(V whole) {
    return each(whole, [](float v) { return v == v ? std::ldexp(1.0f, static_cast<int>(v)) : v; });
  }
  static V absolute(V a) {
    return each(a, [](float v) { return std::fabs(v); });
  }
  /// |a| with the sign of s.
  static V with_sign(V a, V s) {
    for (int i = 0; i < kWidth; ++i) a[i] = std::copysign(a[i], s[i]);
    return a;
  }
  /// x where a > 0, else 0.
  static V where_positive(V a, V x) { return a > zero() ? x : zero(); }

  static void transpose(V* r) {
    const V a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    const V b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const V c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    const V d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
  }

 private:
  static V of_pairs(const BFloat16* pairs) {
    V x;
    std::memcpy(&x, pairs, sizeof x);
    return x;
  }
  template <class Function>
  static V each(V x, const Function& function) {
    for (int i = 0; i < kWidth; ++i) x[i] = function(x[i]);
    return x;
  }
  static float widen(BFloat16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
  }
  /// To the nearest, ties to even; NaN stays NaN.
  static BFloat16 narrow(float x) {
    if (x != x) return {0x7fc0};
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
  }
};

}  // namespace

}  // namespace moe::ops::cpu
