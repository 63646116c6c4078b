#pragma once
// The inner loop, written once over Simd (avx512.h, avx2.h, portable.h), Unit (panels.h) and, where
// B is not packed, Format (formats/plain.h). In an unnamed namespace: see avx512.h.

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
  void store_to(const Destination& to) const {
    constexpr uintptr_t kBytes = W * sizeof(Out);
    Out* const out = static_cast<Out*>(to.out);
    const auto stride = static_cast<uintptr_t>(to.stride) * sizeof(Out);
    const bool aligned = (reinterpret_cast<uintptr_t>(out) | stride) % kBytes == 0;
    if (to.mode == StoreMode::kStreaming && aligned)
      each(out, to.stride, [](Out* p, V x) { Simd::store_streaming(p, x); });
    else
      each(out, to.stride, [](Out* p, V x) { Simd::store_first(p, W, x); });
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
             bool add, const Destination& to) {
  TileSums<Simd, Unit, M> sums(c, stride, add);
  sums.multiply_panel(units, a, b);
  sums.template store_to<Out>(to);
}

/// tile() on B where it stands, for products that use it once.
template <class Simd, class Unit, class Format, int M>
void tile_in_place(const Matrix& b, int64_t row, int64_t column, int64_t depth, const float* a,
                   float* c, int64_t stride, bool add) {
  constexpr int N = Simd::kColumnVectors, W = Simd::kWidth;
  constexpr int64_t kAhead = 64;
  TileSums<Simd, Unit, M> sums(c, stride, add);
  const auto b_stride = Format::stride(b);
  auto here = Format::at(b, row, column);
  for (int64_t k = 0; k < depth; k += Unit::kStep) {
    typename Simd::V columns[N];
    const bool has_lower = Unit::kStep == 2 && k + 1 < depth;
    const auto lower = has_lower ? Format::below(here, b_stride, 1) : here;
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      columns[j] = Unit::template across<Format>(here + j * W, lower + j * W, has_lower, W);
      Format::prefetch(Format::below(here, b_stride, kAhead) + j * W);
      if (has_lower) Format::prefetch(Format::below(lower, b_stride, kAhead) + j * W);
    }
    sums.multiply(a, columns);
    a += M;
    here = Format::below(here, b_stride, Unit::kStep);
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
void fill_tiles(ProductKernels& kernels) {
  kernels.tile[M] = tile<Simd, Unit, M>;
  kernels.tile_to_float32[M] = tile_to<Simd, Unit, M, float>;
  kernels.tile_to_bfloat16[M] = tile_to<Simd, Unit, M, BFloat16>;
  if constexpr (M > 1) fill_tiles<Simd, Unit, M - 1>(kernels);
}

template <class Simd, class Unit, class Format, int M>
void fill_in_place(FormatKernels& kernels) {
  kernels.tile_in_place[M] = tile_in_place<Simd, Unit, Format, M>;
  if constexpr (M > 1) fill_in_place<Simd, Unit, Format, M - 1>(kernels);
}

}  // namespace

}  // namespace moe::ops::cpu
