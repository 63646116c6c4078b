// AVX-512 with the bfloat16 extension: its instruction adds the products of two pairs to a float32
// sum. It takes denormal values for zero.
#include <moe/ops/cpu/simd/avx512_bf16.h>
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/pairs.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

namespace {

struct PairUnit : Pairs<Avx512> {
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
  static const Kernels kernels = [] {
    Kernels out = kernels_of<Avx512Bf16, Avx512Lanes>();
    out.pairs = product_kernels<Avx512Bf16, PairUnit>();
    out.pairs.formats[static_cast<int>(NumberFormat::kBFloat16)] =
        format_kernels<Avx512Bf16, PairUnit, BFloat16Format>();
    return out;
  }();
  return kernels;
}

}  // namespace moe::ops::cpu
