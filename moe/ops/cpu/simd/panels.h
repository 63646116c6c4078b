#pragma once
// Packing, and products that do without, written once over Simd (avx512.h, avx2.h, portable.h) and
// Unit (what 32 bits of a panel hold). In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

/// A unit is a float32; bfloat16 is widened while packing.
template <class Simd, class Type>
struct FloatUnit {
  using T = Type;
  using V = typename Simd::V;
  static constexpr int kStep = 1;

  /// Units of one row from p on, which has n elements left.
  static V along(const T* p, int64_t n) { return Simd::load_first(p, n); }
  /// A unit of each of n adjacent columns; `next` is the row below, null for the last.
  static V across(const T* p, const T* next, int64_t n) { return Simd::load_first(p, n); }
  static V multiply_add(V a, V b, V c) { return Simd::fma(a, b, c); }
  /// The same with one unit of memory in all lanes.
  static V multiply_add(const float* a, V b, V c) { return Simd::fma(Simd::all(*a), b, c); }
};

/// W rows of `depth` values, read in square blocks that come out transposed: register u holds unit
/// k / kStep + u of every row.
template <class Simd, class Unit>
class SquareBlocks {
  using T = typename Unit::T;

 public:
  static constexpr int W = Simd::kWidth;
  static constexpr int64_t kDepth = W * Unit::kStep;

  /// Of the rows, `count` are there; others are zeros among the first `needed`, else anything.
  SquareBlocks(RowsOf<T> source, int64_t count, int64_t needed, int64_t depth)
      : even_(source.index || count < W ? 0 : depth),
        whole_(count < needed ? 0 : depth),
        stride_(source.stride),
        // The processor foresees a few streams, not W of them: ask for rows after these, or, where
        // those are far, for what comes next along the rows.
        ahead_(source.stride <= 1024 ? 4 * W * source.stride : 512 * Unit::kStep) {
    for (int i = 0; i < W; ++i) {
      rows_[i] = source.row(i < count ? i : 0);
      held_[i] = i < count ? depth : 0;
    }
  }

  void load(int64_t k, typename Simd::V* block) const {
    if (k + kDepth <= even_) {
      const T* row = rows_[0] + k;
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        block[i] = Unit::along(row, kDepth);
        __builtin_prefetch(row + ahead_, 0, 2);
        row += stride_;
      }
    } else if (k + kDepth <= whole_) {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) block[i] = Unit::along(rows_[i] + k, kDepth);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        // An absent row is read as no element at all.
        const int64_t left = held_[i] - k;
        block[i] = Unit::along(rows_[i] + (left > 0 ? k : 0), left);
      }
    }
    Simd::transpose(block);
  }

 private:
  /// The depth to which all rows are there and one stride apart, and to which they can be read.
  int64_t even_, whole_, stride_, ahead_;
  const T* rows_[W];
  int64_t held_[W];
};

/// One panel of lanes that are rows.
template <class Simd, class Unit>
void pack_panel(RowsOf<typename Unit::T> source, int64_t lanes, int64_t width, int64_t depth,
                float* panel) {
  constexpr int W = Simd::kWidth;
  using Blocks = SquareBlocks<Simd, Unit>;
  // Backwards, and units in ascending order: what stores write beyond a panel whose width is no
  // multiple of a register is overwritten by those that belong there.
  for (int64_t lane = (width - 1) / W * W; lane >= 0; lane -= W) {
    const int64_t here = lane < lanes ? lanes - lane : 0;
    const Blocks blocks(source.from(here > 0 ? lane : 0), here, width - lane, depth);
    float* out = panel + lane;
    for (int64_t k = 0; k < depth; k += Blocks::kDepth) {
      typename Simd::V block[W];
      blocks.load(k, block);
      const int64_t left = (depth - k + Unit::kStep - 1) / Unit::kStep;
      if (left >= W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) Simd::store(out + i * width, block[i]);
      } else {
        for (int i = 0; i < left; ++i) Simd::store(out + i * width, block[i]);
      }
      out += W * width;
    }
  }
}

/// Packs lanes that are rows.
template <class Simd, class Unit>
void pack_lanes(RowsOf<typename Unit::T> source, int64_t lanes, int64_t width, int64_t depth,
                float* panels) {
  const int64_t stride = width * ((depth + Unit::kStep - 1) / Unit::kStep) + Simd::kWidth;
  for (int64_t lane = 0; lane < lanes; lane += width) {
    pack_panel<Simd, Unit>(source.from(lane), lanes - lane, width, depth, panels);
    panels += stride;
  }
}

/// Packs lanes that are columns: a copy of rows, each read from end to end.
template <class Simd, class Unit>
void pack_depth(RowsOf<typename Unit::T> source, int64_t lanes, int64_t width, int64_t depth,
                float* panels) {
  using T = typename Unit::T;
  constexpr int W = Simd::kWidth, kColumns = W * Simd::kColumnVectors;
  constexpr int64_t kAhead = 8, kLine = 64 / sizeof(T);
  const int64_t stride = width * ((depth + Unit::kStep - 1) / Unit::kStep) + W;
  for (int64_t k = 0; k < depth; k += Unit::kStep) {
    const T* const row = source.row(k);
    const T* const next = Unit::kStep == 2 && k + 1 < depth ? source.row(k + 1) : nullptr;
    const T* ahead[Unit::kStep];
    for (int i = 0; i < Unit::kStep; ++i)
      ahead[i] = k + i + kAhead < depth ? source.row(k + i + kAhead) : row;
    const auto across = [row, next](int64_t at, int64_t n) {
      return Unit::across(row + at, next ? next + at : nullptr, n);
    };
    const auto ask = [&ahead](int64_t at) {
      for (const T* const later : ahead) __builtin_prefetch(later + at, 0, 2);
    };
    float* unit = panels + k / Unit::kStep * width;
    int64_t first = 0;
    if (width == kColumns)
      for (; first + kColumns <= lanes; first += kColumns, unit += stride) {
#pragma GCC unroll 4
        for (int64_t lane = 0; lane < kColumns; lane += kLine) ask(first + lane);
#pragma GCC unroll 4
        for (int lane = 0; lane < kColumns; lane += W)
          Simd::store(unit + lane, across(first + lane, W));
      }
    else if (width <= W)
      // Whole registers without masks: what they hold beyond the panel, the next unit overwrites.
      for (; first + W <= lanes; first += width, unit += stride) {
        ask(first);
        Simd::store(unit, across(first, W));
      }
    for (; first < lanes; first += width, unit += stride)
      for (int64_t lane = 0; lane < width; lane += W) {
        const int64_t left = lanes - first - lane;
        Simd::store(unit + lane, across(left > 0 ? first + lane : 0, left < W ? left : W));
      }
  }
}

/// A panel of M rows of A with a register of columns of B that are rows in memory and used once:
/// transposed in registers, never packed.
template <class Simd, class Unit, int M>
void stream(RowsOf<typename Unit::T> columns, int64_t count, int64_t depth, const float* a,
            float* c, int64_t stride) {
  constexpr int W = Simd::kWidth;
  using Blocks = SquareBlocks<Simd, Unit>;
  const Blocks blocks(columns, count, count, depth);
  typename Simd::V sum[M];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) sum[i] = Simd::zero();
  for (int64_t k = 0; k < depth; k += Blocks::kDepth) {
    typename Simd::V block[W];
    blocks.load(k, block);
    const int64_t left = (depth - k + Unit::kStep - 1) / Unit::kStep;
    if (left >= W) {
#pragma GCC unroll 16
      for (int u = 0; u < W; ++u)
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i] = Unit::multiply_add(a + u * M + i, block[u], sum[i]);
    } else {
      for (int u = 0; u < left; ++u)
        for (int i = 0; i < M; ++i) sum[i] = Unit::multiply_add(a + u * M + i, block[u], sum[i]);
    }
    a += W * M;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) Simd::store(c + i * stride, sum[i]);
}

template <class Simd, class Unit, int M>
void fill_streams(ProductKernels<typename Unit::T>& kernels) {
  kernels.stream[M] = stream<Simd, Unit, M>;
  if constexpr (M > 1) fill_streams<Simd, Unit, M - 1>(kernels);
}

}  // namespace

}  // namespace moe::ops::cpu
