// AVX-512 with the bfloat16 extension: its instruction adds the products of two pairs to a float32
// sum, at twice the rate of float32. It takes denormal values for zero.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

namespace {

/// Rounds to bfloat16 in one instruction, which takes denormal values for zero too.
struct Avx512Bf16 : Avx512 {
  using Avx512::rounded;
  using Avx512::store_far;
  using Avx512::store_first;

  static void store_first(BFloat16* p, int64_t n, V x) {
    _mm256_mask_storeu_epi16(p, first(n), narrow(x));
  }
  static void store_far(BFloat16* p, V x) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(x));
  }
  static V rounded(V x, const BFloat16*) { return widen(narrow(x)); }

 private:
  static __m256i narrow(V x) { return (__m256i)_mm512_cvtneps_pbh(x); }
};

/// A unit is two bfloat16 of adjacent depth.
struct PairUnit {
  using T = BFloat16;
  using V = __m512;
  static constexpr int kStep = 2;

  static V along(const T* p, int64_t n) { return Avx512::load_pairs(p, n); }
  static V across(const T* p, const T* next, int64_t n) { return Avx512::pair_up(p, next, n); }
  static V multiply_add(V a, V b, V c) { return _mm512_dpbf16_ps(c, pairs(a), pairs(b)); }
  /// In one instruction, as compilers make it for float32 (GCC 12 makes two of this one).
  static V multiply_add(const float* a, V b, V c) {
    asm("vdpbf16ps %1%{1to16%}, %2, %0" : "+v"(c) : "m"(*a), "v"(b));
    return c;
  }

 private:
  static __m512bh pairs(V x) { return (__m512bh)_mm512_castps_si512(x); }
};

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels kernels = {product_kernels<Avx512, FloatUnit<Avx512, float>>(),
                                  product_kernels<Avx512Bf16, PairUnit>(),
                                  choice_kernels<Avx512Lanes>()};
  return kernels;
}

}  // namespace moe::ops::cpu
