#pragma once
// A table of kernels from its parts. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/hidden.h>
#include <moe/ops/cpu/simd/panels.h>
#include <moe/ops/cpu/simd/rows.h>
#include <moe/ops/cpu/simd/tiles.h>

namespace moe::ops::cpu {

namespace {

template <class Simd, class Unit>
ProductKernels<typename Unit::T> product_kernels() {
  using T = typename Unit::T;
  ProductKernels<T> out{Simd::kRows,
                        Simd::kColumnVectors * Simd::kWidth,
                        Simd::kWidth,
                        Unit::kStep,
                        Simd::kStreamRows,
                        {},
                        {},
                        {},
                        {},
                        {},
                        pack_lanes<Simd, Unit>,
                        pack_depth<Simd, Unit>,
                        store<Simd, T, false>,
                        store<Simd, T, true>,
                        Simd::fence,
                        add_scaled<Simd, T>,
                        dot<Simd, T>,
                        scale_and_dot<Simd, T>,
                        forward<Simd, T>,
                        backward<Simd, T>,
                        multiply_adds<Simd, Unit>};
  fill_tiles<Simd, Unit, Simd::kRows>(out);
  fill_streams<Simd, Unit, Simd::kStreamRows>(out);
  return out;
}

}  // namespace

}  // namespace moe::ops::cpu
