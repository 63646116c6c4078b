#pragma once
// Packing, and tiles that do without, written once over Simd (avx512.h, avx2.h, portable.h), Unit
// (what 32 bits of a panel hold) and Format (how numbers are stored: formats/plain.h). In an
// unnamed namespace: see avx512.h.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

/// A unit is a float32, to which every format is widened while it is packed.
template <class Simd>
struct FloatUnit {
  using V = typename Simd::V;
  static constexpr int kStep = 1;

  /// Units of one row from p on, which has n numbers left.
  template <class Format>
  static V along(typename Format::Row p, int64_t n) {
    return Format::template floats<Simd>(p, n);
  }
  /// A unit of each of n adjacent columns; `lower` is the place below, if it `has_lower`.
  template <class Format>
  static V across(typename Format::Row p, typename Format::Row /*lower*/, bool /*has_lower*/,
                  int64_t n) {
    return Format::template floats<Simd>(p, n);
  }
  static V multiply_add(V a, V b, V c) { return Simd::fma(a, b, c); }
  /// The same with one unit of memory in all lanes.
  static V multiply_add(const float* a, V b, V c) { return Simd::fma(Simd::all(*a), b, c); }
};

/// As many rows as a register has lanes, read in square blocks that come out transposed: register u
/// holds unit k / kStep + u of every row.
template <class Simd, class Unit, class Format>
class SquareBlocks {
  using Row = typename Format::Row;

 public:
  static constexpr int W = Simd::kWidth;
  static constexpr int64_t kDepth = W * Unit::kStep;

  /// Rows from `row` on, from column `column` on. `count` of them are there; others are zeros among
  /// the first `needed`, else anything.
  SquareBlocks(const Matrix& source, int64_t row, int64_t count, int64_t needed, int64_t column,
               int64_t depth)
      : even_(source.index || count < W ? 0 : depth),
        whole_(count < needed ? 0 : depth),
        stride_(Format::stride(source)),
        // The processor foresees a few streams, not W of them: ask for rows after these, or, where
        // those are far, for what comes next along the rows.
        ahead_(Format::numbers(source) <= 1024 ? 4 * W * Format::numbers(source)
                                               : 512 * Unit::kStep) {
    for (int i = 0; i < W; ++i) {
      rows_[i] = Format::at(source, row + (i < count ? i : 0), column);
      held_[i] = i < count ? depth : 0;
    }
  }

  void load(int64_t k, typename Simd::V* block) const {
    if (k + kDepth <= even_) {
      Row row = rows_[0] + k;
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        block[i] = Unit::template along<Format>(row, kDepth);
        Format::prefetch(row + ahead_);
        row = Format::below(row, stride_, 1);
      }
    } else if (k + kDepth <= whole_) {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) block[i] = Unit::template along<Format>(rows_[i] + k, kDepth);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        // An absent row is read as no element at all.
        const int64_t left = held_[i] - k;
        block[i] = Unit::template along<Format>(rows_[i] + (left > 0 ? k : 0), left);
      }
    }
    Simd::transpose(block);
  }

 private:
  /// The depth to which all rows are there and one stride apart, and to which they can be read.
  int64_t even_, whole_;
  typename Format::Stride stride_;
  int64_t ahead_;
  Row rows_[W];
  int64_t held_[W];
};

/// One panel of `lanes` lanes that are rows from `row` on.
template <class Simd, class Unit, class Format>
void pack_panel_transposed(const Matrix& source, int64_t row, int64_t lanes, int64_t column,
                           int64_t depth, int64_t width, float* panel) {
  constexpr int W = Simd::kWidth;
  using Blocks = SquareBlocks<Simd, Unit, Format>;
  // Backwards, and units in ascending order: what stores write beyond a panel whose width is no
  // multiple of a register is overwritten by those that belong there.
  for (int64_t lane = (width - 1) / W * W; lane >= 0; lane -= W) {
    const int64_t here = lane < lanes ? lanes - lane : 0;
    const Blocks blocks(source, row + (here > 0 ? lane : 0), here, width - lane, column, depth);
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

/// Packs rows as lanes.
template <class Simd, class Unit, class Format>
void pack_transposed(const Matrix& source, const Part& part, int64_t width, int64_t stride,
                     float* panels) {
  const int64_t depth = part.columns;
  for (int64_t lane = 0; lane < part.rows; lane += width) {
    pack_panel_transposed<Simd, Unit, Format>(source, part.row + lane, part.rows - lane,
                                              part.column, depth, width, panels);
    panels += stride;
  }
}

/// Packs columns as lanes: a copy of rows, each read from end to end.
template <class Simd, class Unit, class Format>
void pack_copied(const Matrix& source, const Part& part, int64_t width, int64_t stride,
                 float* panels) {
  using Row = typename Format::Row;
  constexpr int W = Simd::kWidth, kColumns = W * Simd::kColumnVectors;
  constexpr int64_t kAhead = 8, kLine = Format::kLine;
  const int64_t depth = part.rows, lanes = part.columns;
  const auto row_at = [&](int64_t k) { return Format::at(source, part.row + k, part.column); };
  for (int64_t k = 0; k < depth; k += Unit::kStep) {
    const bool has_lower = Unit::kStep == 2 && k + 1 < depth;
    const Row row = row_at(k), lower = has_lower ? row_at(k + 1) : row;
    Row ahead[Unit::kStep];
    for (int i = 0; i < Unit::kStep; ++i)
      ahead[i] = k + i + kAhead < depth ? row_at(k + i + kAhead) : row;
    const auto across = [=](int64_t at, int64_t n) {
      return Unit::template across<Format>(row + at, lower + at, has_lower, n);
    };
    const auto ask = [&ahead](int64_t at) {
      for (const Row& later : ahead) Format::prefetch(later + at);
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

/// M rows of A, a panel, with a register of columns of B that are rows in memory and used once:
/// transposed in registers, never packed.
template <class Simd, class Unit, class Format, int M>
void tile_transposing(const Matrix& b, int64_t row, int64_t count, int64_t depth, const float* a,
                      float* c, int64_t stride) {
  constexpr int W = Simd::kWidth;
  using Blocks = SquareBlocks<Simd, Unit, Format>;
  const Blocks blocks(b, row, count, count, 0, depth);
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

template <class Simd, class Unit, class Format, int M>
void fill_transposing(FormatKernels& kernels) {
  kernels.tile_transposing[M] = tile_transposing<Simd, Unit, Format, M>;
  if constexpr (M > 1) fill_transposing<Simd, Unit, Format, M - 1>(kernels);
}

}  // namespace

}  // namespace moe::ops::cpu
