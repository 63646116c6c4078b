#pragma once
// AVX-512 with the bfloat16 extension. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/avx512.h>

namespace moe::ops::cpu {

namespace {

/// Rounds to bfloat16 in one instruction, which takes denormal values for zero.
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

}  // namespace

}  // namespace moe::ops::cpu
