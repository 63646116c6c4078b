#pragma once
// Panels of pairs: what 32 bits of them hold. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

/// A unit is two bfloat16 of adjacent depth.
template <class Simd>
struct Pairs {
  using V = typename Simd::V;
  static constexpr int kStep = 2;

  /// Units of one row from p on, which has n numbers left.
  template <class Format>
  static V along(typename Format::Row p, int64_t n) {
    return Format::template pairs_along<Simd>(p, n);
  }
  /// A unit of each of n adjacent columns; `lower` is the place below, if it `has_lower`.
  template <class Format>
  static V across(typename Format::Row p, typename Format::Row lower, bool has_lower, int64_t n) {
    return Format::template pairs_across<Simd>(p, has_lower ? lower : nullptr, n);
  }
};

}  // namespace

}  // namespace moe::ops::cpu
