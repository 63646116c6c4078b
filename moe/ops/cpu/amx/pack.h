#pragma once
// Panels as the tiles of AMX read them, of units of two bfloat16 of adjacent depth, filled up with
// zeros to 16 units: B as elsewhere, [units][lanes]; A with the units of a row beside each other,
// [units / 16][rows][16]. In an unnamed namespace: see simd/avx512.h.

#include <algorithm>

#include <moe/ops/cpu/simd/pairs.h>
#include <moe/ops/cpu/simd/panels.h>

namespace moe::ops::cpu {

namespace {

/// Units of depth, and rows, of a tile.
inline constexpr int64_t kTileSide = 16;

inline int64_t tiles_of_depth(int64_t depth) {
  return (depth + 2 * kTileSide - 1) / (2 * kTileSide);
}

/// Rows as lanes: copied in pieces of a tile's width.
template <class Simd, class Format>
void pack_tile_rows(const Matrix& source, const Part& part, int64_t height, int64_t stride,
                    float* panels) {
  const int64_t depth = part.columns, tiles = tiles_of_depth(depth);
  for (int64_t lane = 0; lane < part.rows; ++lane) {
    const auto row = Format::at(source, part.row + lane, part.column);
    float* out = panels + lane / height * stride + lane % height * kTileSide;
    for (int64_t tile = 0; tile < tiles; ++tile, out += height * kTileSide)
      for (int64_t u = 0; u < kTileSide; u += Simd::kWidth) {
        const int64_t k = 2 * (tile * kTileSide + u);
        Simd::store(out + u,
                    Pairs<Simd>::template along<Format>(row + std::min(k, depth), depth - k));
      }
  }
}

/// Columns as lanes: as many of them as a register holds, of as many units, come out transposed.
template <class Simd, class Format>
void pack_tile_columns(const Matrix& source, const Part& part, int64_t height, int64_t stride,
                       float* panels) {
  constexpr int W = Simd::kWidth;
  const int64_t depth = part.rows, tiles = tiles_of_depth(depth);
  const auto place = [&](int64_t k, int64_t lane) {
    return Format::at(source, part.row + k, part.column + lane);
  };
  for (int64_t unit = 0; unit < tiles * kTileSide; unit += W)
    for (int64_t panel = 0; panel * height < part.columns; ++panel)
      for (int64_t lane = 0; lane < height; lane += W) {
        const int64_t from = panel * height + lane;
        const int64_t lanes = std::min({int64_t{W}, height - lane, part.columns - from});
        if (lanes <= 0) break;
        typename Simd::V block[W];
        for (int i = 0; i < W; ++i) {
          const int64_t k = 2 * (unit + i);
          const bool there = k < depth, has_lower = k + 1 < depth;
          const auto row = place(there ? k : 0, from);
          block[i] = Pairs<Simd>::template across<Format>(row, has_lower ? place(k + 1, from) : row,
                                                          has_lower, there ? lanes : 0);
        }
        Simd::transpose(block);
        float* const out = panels + panel * stride +
                           (unit / kTileSide * height + lane) * kTileSide + unit % kTileSide;
        for (int64_t i = 0; i < lanes; ++i) Simd::store(out + i * kTileSide, block[i]);
      }
}

/// Zeros behind the units of panels of B.
inline void fill_up(int64_t lanes, int64_t width, int64_t depth, int64_t stride, float* panels) {
  const int64_t units = (depth + 1) / 2, all = tiles_of_depth(depth) * kTileSide;
  for (int64_t lane = 0; lane < lanes; lane += width, panels += stride)
    std::fill(panels + units * width, panels + all * width, 0.0f);
}

template <class Simd, class Format>
void pack_b_rows(const Matrix& source, const Part& part, int64_t width, int64_t stride,
                 float* panels) {
  pack_transposed<Simd, Pairs<Simd>, Format>(source, part, width, stride, panels);
  fill_up(part.rows, width, part.columns, stride, panels);
}

template <class Simd, class Format>
void pack_b_columns(const Matrix& source, const Part& part, int64_t width, int64_t stride,
                    float* panels) {
  pack_copied<Simd, Pairs<Simd>, Format>(source, part, width, stride, panels);
  fill_up(part.columns, width, part.rows, stride, panels);
}

}  // namespace

}  // namespace moe::ops::cpu
