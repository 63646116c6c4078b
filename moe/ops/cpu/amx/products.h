#pragma once
// Products on tiles, written once over Tiles (amx_tiles.h, plain_tiles.h) and Simd, which packs and
// rounds. In an unnamed namespace: see simd/avx512.h.

#include <cstring>

#include <moe/ops/cpu/amx/pack.h>
#include <moe/ops/cpu/formats/all.h>

namespace moe::ops::cpu {

namespace {

/// M x 32 sums of a panel of A and a panel of B.
template <class Tiles, int M>
class TileProduct {
 public:
  /// C = [C +] A B over `units` of depth, a multiple of 16.
  TileProduct(int64_t units, const float* a, const float* b, const float* c, int64_t stride,
              bool add) {
    if (add)
      load(c, stride);
    else
      tiles_.template zero<kRowTiles>();
    for (int64_t u = 0; u < units; u += kTileSide) {
      tiles_.template step<kRowTiles>(a, b);
      a += M * kTileSide;
      b += kTileSide * kColumns;
    }
  }

  void store(float* c, int64_t stride) {
    for (int r = 0; r < kRowTiles; ++r) {
      float* const here = c + r * kTileSide * stride;
      if (rows_of(r) == kTileSide) {
        tiles_.store(r, here, stride);
        continue;
      }
      tiles_.store(r, part_, kColumns);
      for (int i = 0; i < rows_of(r); ++i)
        std::memcpy(here + i * stride, part_ + i * kColumns, kColumns * sizeof(float));
    }
  }

  template <class Simd, class Out>
  void store_to(const Destination& to) {
    constexpr int W = Simd::kWidth;
    constexpr uintptr_t kBytes = W * sizeof(Out);
    Out* out = static_cast<Out*>(to.out);
    const auto stride = static_cast<uintptr_t>(to.stride) * sizeof(Out);
    const bool streams = to.mode == StoreMode::kStreaming &&
                         (reinterpret_cast<uintptr_t>(out) | stride) % kBytes == 0;
    for (int r = 0; r < kRowTiles; ++r) {
      tiles_.store(r, part_, kColumns);
      for (int i = 0; i < rows_of(r); ++i, out += to.stride)
        for (int64_t j = 0; j < kColumns; j += W) {
          const auto sums = Simd::load(part_ + i * kColumns + j);
          if (streams)
            Simd::store_streaming(out + j, sums);
          else
            Simd::store_first(out + j, W, sums);
        }
    }
  }

  static constexpr int64_t kColumns = 2 * kTileSide;

 private:
  static constexpr int kRowTiles = (M + static_cast<int>(kTileSide) - 1) / kTileSide;

  static constexpr int rows_of(int r) {
    return r < kRowTiles - 1 ? kTileSide : M - (kRowTiles - 1) * kTileSide;
  }

  void load(const float* c, int64_t stride) {
    for (int r = 0; r < kRowTiles; ++r) {
      const float* const here = c + r * kTileSide * stride;
      if (rows_of(r) == kTileSide) {
        tiles_.load(r, here, stride);
        continue;
      }
      std::memset(part_, 0, sizeof part_);
      for (int i = 0; i < rows_of(r); ++i)
        std::memcpy(part_ + i * kColumns, here + i * stride, kColumns * sizeof(float));
      tiles_.load(r, part_, kColumns);
    }
  }

  Tiles tiles_;
  alignas(64) float part_[kTileSide * kColumns];
};

template <class Tiles, int M>
void tile_product(int64_t units, const float* a, const float* b, float* c, int64_t stride,
                  bool add) {
  TileProduct<Tiles, M>(units, a, b, c, stride, add).store(c, stride);
}

template <class Tiles, class Simd, int M, class Out>
void tile_product_to(int64_t units, const float* a, const float* b, const float* c, int64_t stride,
                     bool add, const Destination& to) {
  TileProduct<Tiles, M>(units, a, b, c, stride, add).template store_to<Simd, Out>(to);
}

template <class Tiles, class Simd, int M>
void fill_tile_products(ProductKernels& kernels) {
  kernels.tile[M] = tile_product<Tiles, M>;
  kernels.tile_to_float32[M] = tile_product_to<Tiles, Simd, M, float>;
  kernels.tile_to_bfloat16[M] = tile_product_to<Tiles, Simd, M, BFloat16>;
  if constexpr (M > 1) fill_tile_products<Tiles, Simd, M - 1>(kernels);
}

/// As simd/tiles.h's: steps of 2 x 2 tiles on numbers that are not zero, on which the clock falls.
template <class Tiles>
int64_t tile_multiply_adds(int64_t rounds, float* values) {
  constexpr int64_t kSteps = 2;
  alignas(64) float a[kSteps * 32 * 16], b[kSteps * 16 * 32], c[32 * 32];
  uint32_t random = 1;
  for (float* panel : {a, b})
    for (int64_t i = 0; i < kSteps * 512; ++i) {
      random = random * 1664525u + 1013904223u;
      const uint32_t pair = 0x3f003f00u | (random & 0x80ff80ffu);  // two numbers of size 1/2 to 1
      std::memcpy(panel + i, &pair, sizeof pair);
    }
  Tiles::begin();
  Tiles tiles;
  tiles.template zero<2>();
  for (int64_t round = 0; round < rounds; ++round)
    tiles.template step<2>(a + round % kSteps * 512, b + round % kSteps * 512);
  for (int r = 0; r < 2; ++r) tiles.store(r, c + r * 16 * 32, 32);
  Tiles::end();
  values[0] += c[0];
  return rounds * 32 * 32 * 32;
}

template <class Tiles, class Simd>
ProductKernels tile_kernels() {
  ProductKernels out{};
  out.rows = 2 * kTileSide;
  out.columns = 2 * kTileSide;
  out.vector = Simd::kWidth;
  out.step = 2;
  out.transposing_rows = 0;
  fill_tile_products<Tiles, Simd, 2 * kTileSide>(out);
  out.fence = Simd::fence;
  out.multiply_adds = tile_multiply_adds<Tiles>;
  out.unit_multiple = kTileSide;
  out.row_multiple = kTileSide;
  out.slack = kTileSide * kTileSide;  // the last tile of A may have fewer rows than are read
  // Weight gradients of so few rows are faster in vector registers: a block of tiles costs as much
  // for 16 steps as for 32.
  out.fewest_depth = kTileSide + 1;
  out.begin = Tiles::begin;
  out.end = Tiles::end;
  FormatKernels& format = out.formats[static_cast<int>(NumberFormat::kBFloat16)];
  format.pack_transposed = pack_b_rows<Simd, BFloat16Format>;
  format.pack_copied = pack_b_columns<Simd, BFloat16Format>;
  format.pack_a_rows = pack_tile_rows<Simd, BFloat16Format>;
  format.pack_a_columns = pack_tile_columns<Simd, BFloat16Format>;
  return out;
}

}  // namespace

}  // namespace moe::ops::cpu
