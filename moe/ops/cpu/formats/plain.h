#pragma once
// What formats of one number an element, without scales, have in common. In an unnamed namespace:
// see simd/avx512.h.
//
// A format says how panels.h and tiles.h read it:
//   Row                      a place in a row; p + n is n numbers further along it
//   at(m, row, column)       that place
//   Stride, stride(m), below(p, stride, n)    the place n rows further down, of rows not gathered
//   numbers(m)               numbers between the beginnings of two rows, to guess what lies near
//   kLine                    numbers of a line of the caches (64 bytes)
//   prefetch(p)              asks for the line of a place
//   floats<Simd>(p, n)       the first n numbers from p on (at most a register) as float32, then
//                            zeros; nothing beyond them is touched
// and, where an instruction multiplies pairs of it, pairs_along and pairs_across (bfloat16.h).

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

namespace {

template <class T>
struct PlainFormat {
  using Row = const T*;
  using Stride = int64_t;
  static constexpr int64_t kLine = 64 / sizeof(T);

  static Row at(const Matrix& m, int64_t row, int64_t column) {
    const int64_t begin = (m.index ? m.index[row] : row) * m.row_bytes;
    return reinterpret_cast<Row>(static_cast<const char*>(m.data) + begin) + column;
  }
  static Stride stride(const Matrix& m) { return numbers(m); }
  static Row below(Row p, Stride stride, int64_t n) { return p + n * stride; }
  static int64_t numbers(const Matrix& m) { return m.row_bytes / static_cast<int64_t>(sizeof(T)); }
  static void prefetch(Row p) { __builtin_prefetch(p, 0, 2); }
};

}  // namespace

}  // namespace moe::ops::cpu
