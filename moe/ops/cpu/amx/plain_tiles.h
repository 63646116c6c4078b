#pragma once
// The tiles of amx_tiles.h in plain C++, number for number. In an unnamed namespace: see
// simd/avx512.h.

#include <moe/ops/cpu/amx/rule.h>

namespace moe::ops::cpu {

namespace {

/// Up to 2 x 2 tiles of 16 x 16 float32 sums.
class PlainTiles {
 public:
  static void begin() {}
  static void end() {}

  template <int kRowTiles>
  void zero() {
    std::memset(sums_, 0, sizeof sums_);
  }
  /// Both tiles of row tile `r` from 16 x 32 numbers at c.
  void load(int r, const float* c, int64_t stride) {
    for (int i = 0; i < kSide; ++i)
      for (int j = 0; j < 2 * kSide; ++j) sums_[r * kSide + i][j] = c[i * stride + j];
  }
  void store(int r, float* c, int64_t stride) const {
    for (int i = 0; i < kSide; ++i)
      for (int j = 0; j < 2 * kSide; ++j) c[i * stride + j] = sums_[r * kSide + i][j];
  }
  /// 16 pairs of depth: a holds 16 rows of 16 pairs a row tile, b 16 rows of 32 pairs.
  template <int kRowTiles>
  void step(const float* a, const float* b) {
    for (int i = 0; i < kRowTiles * kSide; ++i)
      for (int j = 0; j < 2 * kSide; ++j)
        sums_[i][j] =
            dot_pairs(reinterpret_cast<const BFloat16*>(a + i * kSide),
                      reinterpret_cast<const BFloat16*>(b + j), 4 * kSide, kSide, sums_[i][j]);
  }

 private:
  static constexpr int kSide = 16;
  float sums_[2 * kSide][2 * kSide];
};

}  // namespace

}  // namespace moe::ops::cpu
