#pragma once
// The inner loops of the grouped products, one table an instruction set. No libtorch here: these
// files compile in seconds.
//
// A product C = A B runs on panels, packed copies that the inner loop reads straight on: panel
// [depth][width] holds for each unit of depth the values of `width` rows of A or columns of B
// ("lanes"). A unit is 32 bits: one float32, or two bfloat16 of adjacent depth for the instruction
// that multiplies pairs. Sums are float32 and run over the depth in ascending order, one
// accumulator an element: neither blocks nor neighbours nor threads can change a result.

#include <cstdint>

#include <moe/ops/activation.h>
#include <moe/ops/cpu/choice_kernels.h>

namespace moe::ops::cpu {

/// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

/// Row r stands at data + (index ? index[r] : r) * stride.
template <class T>
struct RowsOf {
  const T* data;
  int64_t stride;
  const int64_t* index = nullptr;

  const T* row(int64_t r) const { return data + (index ? index[r] : r) * stride; }
  /// Those from row r on.
  RowsOf from(int64_t r) const {
    return index ? RowsOf{data, stride, index + r} : RowsOf{data + r * stride, stride, nullptr};
  }
};

/// What the end of the first product does with a row of n sums: pre = sum + bias (saved unless
/// null), hidden = act(pre) * keep (unless null); gated: hidden = act(pre_gate) * pre_up * keep.
/// `up` null means plain, null biases and keep mean none.
template <class T>
struct ForwardRow {
  int64_t n;
  const float *gate, *up;
  const T *bias_gate, *bias_up, *keep;
  T *pre_gate, *pre_up, *hidden;
  bool pre_far;  ///< whether `pre` passes by the caches (see store_far)
};

/// The same backward: from `weight` * dL/dhidden the gradients of the pre-activations, which may
/// stand where these did, and `weight` * hidden anew. `dots` (unless null) gets hidden . dL/dhidden
/// of every `columns` (of a tile) hidden units.
template <class T>
struct BackwardRow {
  int64_t n;
  const float* dhidden;
  const T *pre_gate, *pre_up, *keep;
  T *dpre_gate, *dpre_up, *hidden;
  float weight;
  float* dots;
};

/// Rows of the largest tile of any instruction set.
inline constexpr int kMostRows = 14;

/// What becomes of sums in memory: they take its place, or do so past the caches (for results that
/// nobody reads soon: memory is not read before it is written).
enum class Put { kNear, kFar };

/// Where sums go as they are, rounded to the type: row r at out + r * stride.
template <class T>
struct Plain {
  T* out = nullptr;
  int64_t stride = 0;
  Put put = Put::kNear;
};

/// C (rows, columns) = [C +] A B from one panel each; C is float32 with `stride` between rows.
using Tile = void (*)(int64_t units, const float* a, const float* b, float* c, int64_t stride,
                      bool add);

template <class T>
struct ProductKernels {
  int rows;         ///< of a full tile
  int columns;      ///< of every tile, a multiple of `vector`
  int vector;       ///< lanes of a register
  int step;         ///< elements of depth in a unit
  int stream_rows;  ///< the most that `stream` takes
  /// tile[m]: m in [1, rows].
  Tile tile[kMostRows + 1];
  /// The same with the result somewhere else than C, which is only read, and only for `add`.
  void (*tile_to[kMostRows + 1])(int64_t units, const float* a, const float* b, const float* c,
                                 int64_t stride, bool add, const Plain<T>& to);
  void (*tile_to_sums[kMostRows + 1])(int64_t units, const float* a, const float* b, const float* c,
                                      int64_t stride, bool add, const Plain<float>& to);
  /// The same on B where it stands: `columns` of them, row(k) of `b` being step k; `a` a panel.
  void (*tile_rows[kMostRows + 1])(RowsOf<T> b, int64_t depth, const float* a, float* c,
                                   int64_t stride, bool add);
  /// C (m, vector) = A B for m in [1, stream_rows] without packing B, whose columns are rows in
  /// memory: `count` of them, at most `vector`. A's panel is as deep as the product.
  void (*stream[kMostRows + 1])(RowsOf<T> columns, int64_t count, int64_t depth, const float* a,
                                float* c, int64_t stride);
  /// Packs lanes that are rows: row(l) has `depth` contiguous values. Panels follow each other at
  /// `panel_stride()`; what the last one has beyond `lanes` is 0.
  void (*pack_lanes)(RowsOf<T> source, int64_t lanes, int64_t width, int64_t depth, float* panels);
  /// Packs lanes that are columns: row(k) has `lanes` contiguous values.
  void (*pack_depth)(RowsOf<T> source, int64_t lanes, int64_t width, int64_t depth, float* panels);
  /// out = sum + bias (none when null).
  void (*store)(int64_t n, const float* sum, const T* bias, T* out);
  /// The same for results that nobody reads soon: past the caches, so that memory is not read
  /// before it is written. fence() makes them seen by other threads.
  void (*store_far)(int64_t n, const float* sum, const T* bias, T* out);
  void (*fence)();
  /// sum [+]= weight * row; without `+` where it is the first.
  void (*add_scaled)(int64_t n, float weight, const T* row, float* sum, bool first);
  float (*dot)(int64_t n, const T* a, const T* b);
  /// drow = weight * dy; returns dy . row.
  float (*scale_and_dot)(int64_t n, float weight, const float* dy, const T* row, T* drow);
  void (*forward)(Activation activation, const ForwardRow<T>& row);
  void (*backward)(Activation activation, const BackwardRow<T>& row);
  /// Multiply-adds in registers alone, for measuring the processor; returns how many. `values`
  /// holds `vector` floats.
  int64_t (*multiply_adds)(int64_t rounds, float* values);

  int64_t units(int64_t depth) const { return (depth + step - 1) / step; }
  /// Floats from a panel to the next: packing writes whole registers, so as much again is free.
  int64_t panel_stride(int64_t width, int64_t depth) const { return width * units(depth) + vector; }
};

struct Kernels {
  ProductKernels<float> float32;
  ProductKernels<BFloat16> bfloat16;

  template <class T>
  const ProductKernels<T>& of() const;

  ChoiceKernels choice;
};

template <>
inline const ProductKernels<float>& Kernels::of<float>() const {
  return float32;
}
template <>
inline const ProductKernels<BFloat16>& Kernels::of<BFloat16>() const {
  return bfloat16;
}

/// The tables. Those of x86 exist only in builds for x86, and only a processor that has the
/// instructions may call what they hold.
const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();

}  // namespace moe::ops::cpu
