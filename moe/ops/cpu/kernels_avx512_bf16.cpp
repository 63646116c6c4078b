// AVX-512 with the bfloat16 extension: its instruction adds the products of two pairs to a float32
// sum, at twice the rate of float32. It takes denormal values for zero.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

namespace {

/// A unit is two bfloat16 of adjacent depth.
struct PairUnit {
  using T = BFloat16;
  using V = __m512;
  static constexpr int kStep = 2;

  static V along(const T* p, int64_t n) { return Avx512::load_pairs(p, n); }
  static V across(const T* p, const T* next, int64_t n) { return Avx512::pair_up(p, next, n); }
  static V multiply_add(V a, V b, V c) { return _mm512_dpbf16_ps(c, pairs(a), pairs(b)); }

 private:
  static __m512bh pairs(V x) { return (__m512bh)_mm512_castps_si512(x); }
};

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels kernels = {product_kernels<Avx512, FloatUnit<Avx512, float>>(),
                                  product_kernels<Avx512, PairUnit>(),
                                  choice_kernels<Avx512Lanes>()};
  return kernels;
}

}  // namespace moe::ops::cpu
