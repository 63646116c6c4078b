// AVX-512 with the bfloat16 extension: its instruction adds the products of two pairs to a float32
// sum. It takes denormal values for zero.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

namespace {

/// Rounds to bfloat16 in one instruction, which takes denormal values for zero too.
struct Avx512Bf16 : Avx512 {
  using Avx512::rounded;
  using Avx512::store_first;
  using Avx512::store_streaming;

  static void store_first(BFloat16* p, int64_t n, V x) {
    _mm256_mask_storeu_epi16(p, first(n), narrow(x));
  }
  static void store_streaming(BFloat16* p, V x) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(x));
  }
  static V rounded(V x, const BFloat16*) { return widen(narrow(x)); }

 private:
  static __m256i narrow(V x) { return (__m256i)_mm512_cvtneps_pbh(x); }
};

/// A unit is two bfloat16 of adjacent depth.
struct PairUnit {
  using V = __m512;
  static constexpr int kStep = 2;

  template <class Format>
  static V along(typename Format::Row p, int64_t n) {
    return Format::template pairs_along<Avx512>(p, n);
  }
  template <class Format>
  static V across(typename Format::Row p, typename Format::Row lower, bool has_lower, int64_t n) {
    return Format::template pairs_across<Avx512>(p, has_lower ? lower : nullptr, n);
  }
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
