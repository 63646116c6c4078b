#pragma once
// float32: nothing to convert. In an unnamed namespace: see simd/avx512.h.

#include <moe/ops/cpu/formats/plain.h>

namespace moe::ops::cpu {

namespace {

struct Float32Format : PlainFormat<float> {
  template <class Simd>
  static typename Simd::V floats(Row p, int64_t n) {
    return Simd::load_first(p, n);
  }
};

}  // namespace

}  // namespace moe::ops::cpu
