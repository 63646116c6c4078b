#pragma once
// What leads rows of experts back to tokens, and gradients of tokens to rows, written once over
// Simd. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

template <class Simd, class T>
void add_scaled(int64_t n, float weight, const T* row, float* sum, bool first) {
  const auto w = Simd::all(weight);
  for (int64_t i = 0; i < n; i += Simd::kWidth) {
    const auto before = first ? Simd::zero() : Simd::load_first(sum + i, n - i);
    Simd::store_first(sum + i, n - i, Simd::fma(w, Simd::load_first(row + i, n - i), before));
  }
}

template <class Simd>
float sum_of_lanes(typename Simd::V x) {
  float parts[Simd::kWidth];
  Simd::store(parts, x);
  for (int half = Simd::kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
  return parts[0];
}

template <class Simd, class T>
float dot(int64_t n, const T* a, const T* b) {
  auto sum = Simd::zero();
  for (int64_t i = 0; i < n; i += Simd::kWidth)
    sum = Simd::fma(Simd::load_first(a + i, n - i), Simd::load_first(b + i, n - i), sum);
  return sum_of_lanes<Simd>(sum);
}

template <class Simd, class T>
float scale_and_dot(int64_t n, float weight, const float* dy, const T* row, T* drow) {
  constexpr int kChains = 4, W = Simd::kWidth;
  const auto w = Simd::all(weight);
  typename Simd::V sums[kChains] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
  for (int64_t i = 0, chain = 0; i < n; i += W, chain = (chain + 1) % kChains) {
    const auto gradient = Simd::load_first(dy + i, n - i);
    sums[chain] = Simd::fma(gradient, Simd::load_first(row + i, n - i), sums[chain]);
    Simd::store_first(drow + i, n - i, Simd::multiply(w, gradient));
  }
  return sum_of_lanes<Simd>(Simd::add(Simd::add(sums[0], sums[1]), Simd::add(sums[2], sums[3])));
}

}  // namespace

}  // namespace moe::ops::cpu
