#pragma once
// The inner loop, written once over Simd (avx512.h, avx2.h, portable.h) and Unit (panels.h). In an
// unnamed namespace: see avx512.h.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

/// M x kColumnVectors sums, which stay in registers over the whole depth.
template <class Simd, class Unit, int M>
struct TileSums {
  using V = typename Simd::V;
  static constexpr int N = Simd::kColumnVectors, W = Simd::kWidth;
  V sum[M][N];

  /// From those at c, or from zero.
  TileSums(const float* c, int64_t stride, bool add) {
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j)
        sum[i][j] = add ? Simd::load(c + i * stride + j * W) : Simd::zero();
  }

  /// A step of depth: M values of A are broadcast to the columns of B.
  void multiply(const float* a, const V* columns) {
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const V value = Simd::all(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] = Unit::multiply_add(value, columns[j], sum[i][j]);
    }
  }

  /// All of them with a panel of B.
  void multiply_panel(int64_t units, const float* a, const float* b) {
    for (int64_t k = 0; k < units; ++k) {
      V columns[N];
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) columns[j] = Simd::load(b + j * W);
      multiply(a, columns);
      a += M;
      b += N * W;
    }
  }

  void store(float* c, int64_t stride) const {
    each(c, stride, [](float* p, V x) { Simd::store(p, x); });
  }

  template <class Out>
  void put(const Plain<Out>& to) const {
    constexpr uintptr_t kBytes = W * sizeof(Out);
    const auto stride = static_cast<uintptr_t>(to.stride) * sizeof(Out);
    if (to.put == Put::kFar && (reinterpret_cast<uintptr_t>(to.out) | stride) % kBytes == 0)
      each(to.out, to.stride, [](Out* p, V x) { Simd::store_far(p, x); });
    else
      each(to.out, to.stride, [](Out* p, V x) { Simd::store_first(p, W, x); });
  }

 private:
  template <class Out, class Function>
  void each(Out* out, int64_t stride, const Function& function) const {
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) function(out + i * stride + j * W, sum[i][j]);
  }
};

template <class Simd, class Unit, int M>
void tile(int64_t units, const float* a, const float* b, float* c, int64_t stride, bool add) {
  TileSums<Simd, Unit, M> sums(c, stride, add);
  sums.multiply_panel(units, a, b);
  sums.store(c, stride);
}

template <class Simd, class Unit, int M, class Out>
void tile_to(int64_t units, const float* a, const float* b, const float* c, int64_t stride,
             bool add, const Plain<Out>& to) {
  TileSums<Simd, Unit, M> sums(c, stride, add);
  sums.multiply_panel(units, a, b);
  sums.put(to);
}

/// tile() on B where it stands, the panel's columns in row after row: for products that use it
/// once.
template <class Simd, class Unit, int M>
void tile_rows(RowsOf<typename Unit::T> b, int64_t depth, const float* a, float* c, int64_t stride,
               bool add) {
  constexpr int N = Simd::kColumnVectors, W = Simd::kWidth;
  constexpr int64_t kAhead = 64;
  TileSums<Simd, Unit, M> sums(c, stride, add);
  const auto* row = b.data;
  for (int64_t k = 0; k < depth; k += Unit::kStep) {
    typename Simd::V columns[N];
    const auto* const next = Unit::kStep == 2 && k + 1 < depth ? row + b.stride : nullptr;
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      columns[j] = Unit::across(row + j * W, next ? next + j * W : nullptr, W);
      __builtin_prefetch(row + kAhead * b.stride + j * W, 0, 2);
      if (next) __builtin_prefetch(next + kAhead * b.stride + j * W, 0, 2);
    }
    sums.multiply(a, columns);
    a += M;
    row += Unit::kStep * b.stride;
  }
  sums.store(c, stride);
}

/// `rounds` times as many multiply-adds as there are registers for sums, nothing else: what the
/// processor can do at most. `values` holds a register's worth of floats, in and out; returns the
/// number of multiply-adds.
template <class Simd, class Unit>
int64_t multiply_adds(int64_t rounds, float* values) {
  constexpr int N = Simd::kRows * Simd::kColumnVectors;
  typename Simd::V sums[N];
  const auto x = Simd::load(values);
  // From different values, or the compiler would keep one chain for all.
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) sums[i] = Simd::add(x, Simd::all(static_cast<float>(i)));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) sums[i] = Unit::multiply_add(x, x, sums[i]);
  }
  for (int i = 1; i < N; ++i) sums[0] = Simd::add(sums[0], sums[i]);
  Simd::store(values, sums[0]);
  return rounds * N * Simd::kWidth * Unit::kStep;
}

template <class Simd, class Unit, int M>
void fill_tiles(ProductKernels<typename Unit::T>& kernels) {
  kernels.tile[M] = tile<Simd, Unit, M>;
  kernels.tile_to[M] = tile_to<Simd, Unit, M, typename Unit::T>;
  kernels.tile_to_sums[M] = tile_to<Simd, Unit, M, float>;
  kernels.tile_rows[M] = tile_rows<Simd, Unit, M>;
  if constexpr (M > 1) fill_tiles<Simd, Unit, M - 1>(kernels);
}

}  // namespace

}  // namespace moe::ops::cpu
