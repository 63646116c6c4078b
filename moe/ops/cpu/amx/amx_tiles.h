#pragma once
// The tiles of AMX. Intrinsics take tile numbers as text, so they stand here as literals: 0 to 3
// are sums, 4 and 5 hold A, 6 and 7 hold B. In an unnamed namespace: see simd/avx512.h.
//
// GCC 12 does not know what memory tile instructions read and write: barriers say so.

#include <immintrin.h>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

/// Up to 2 x 2 tiles of 16 x 16 float32 sums, in the registers of the thread.
class AmxTiles {
 public:
  /// Eight tiles of 16 rows of 64 bytes, for the thread that calls.
  static void begin() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    static_assert(sizeof config == 64);
    memory_changed(&config);
    _tile_loadconfig(&config);
  }
  static void end() { _tile_release(); }

  template <int kRowTiles>
  void zero() {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kRowTiles == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  /// Both tiles of row tile `r` from 16 x 32 numbers at c.
  void load(int r, const float* c, int64_t stride) {
    memory_changed(c);
    const int64_t bytes = stride * kFloat;
    if (r == 0) {
      _tile_loadd(0, c, bytes);
      _tile_loadd(1, c + 16, bytes);
    } else {
      _tile_loadd(2, c, bytes);
      _tile_loadd(3, c + 16, bytes);
    }
  }
  void store(int r, float* c, int64_t stride) const {
    const int64_t bytes = stride * kFloat;
    if (r == 0) {
      _tile_stored(0, c, bytes);
      _tile_stored(1, c + 16, bytes);
    } else {
      _tile_stored(2, c, bytes);
      _tile_stored(3, c + 16, bytes);
    }
    memory_changed(c);
  }
  /// 16 pairs of depth: a holds 16 rows of 16 pairs a row tile, b 16 rows of 32 pairs. A panel of A
  /// stays in the first-level cache while B streams from the second.
  template <int kRowTiles>
  void step(const float* a, const float* b) {
    _tile_loadd(4, a, 16 * kFloat);
    _tile_stream_loadd(6, b, 32 * kFloat);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stream_loadd(7, b + 16, 32 * kFloat);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kRowTiles == 2) {
      _tile_loadd(5, a + 16 * 16, 16 * kFloat);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);

  static void memory_changed(const void* p) { asm volatile("" : : "r"(p) : "memory"); }
};

}  // namespace

}  // namespace moe::ops::cpu
