#pragma once
// The inner loops of the grouped products, one table for each instruction set. No libtorch here:
// these files compile in seconds.
//
// A product C = A B runs on panels, packed copies that the inner loop reads from end to end. A
// panel of A holds a few rows of A, a panel of B a few columns of B; both are called lanes. It is
// stored [depth][lanes]: for each step of depth the values of all its lanes. A step takes 32 bits a
// lane, a unit: one float32, or two bfloat16 of adjacent depth for the instruction that multiplies
// pairs. Sums are float32 and run over the depth in ascending order, one accumulator an element:
// neither blocks nor neighbours nor threads can change a result.

#include <cstdint>

#include <moe/ops/activation.h>
#include <moe/ops/cpu/choice_kernels.h>
#include <moe/ops/matrix.h>

namespace moe::ops::cpu {

/// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

template <class T>
inline constexpr NumberFormat kFormatOf = NumberFormat::kFloat32;
template <>
inline constexpr NumberFormat kFormatOf<BFloat16> = NumberFormat::kBFloat16;

/// Rows of activations: row r stands at data + (index ? index[r] : r) * stride.
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
  Matrix matrix() const {
    return {kFormatOf<T>, data, stride * static_cast<int64_t>(sizeof(T)), index};
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
  bool stream_pre;  ///< whether `pre` is written past the caches (StoreMode::kStreaming)
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

/// What is done with rows of activations of type T.
template <class T>
struct RowKernels {
  int columns;  ///< of a tile: `backward` writes one of `dots` for so many hidden units
  /// out = sum + bias (none when null).
  void (*store)(int64_t n, const float* sum, const T* bias, T* out);
  /// The same past the caches (StoreMode::kStreaming).
  void (*store_streaming)(int64_t n, const float* sum, const T* bias, T* out);
  /// sum [+]= weight * row; without `+` where it is the first.
  void (*add_scaled)(int64_t n, float weight, const T* row, float* sum, bool first);
  float (*dot)(int64_t n, const T* a, const T* b);
  /// drow = weight * dy; returns dy . row.
  float (*scale_and_dot)(int64_t n, float weight, const float* dy, const T* row, T* drow);
  void (*forward)(Activation activation, const ForwardRow<T>& row);
  void (*backward)(Activation activation, const BackwardRow<T>& row);
};

/// Rows of the largest tile of any instruction set.
inline constexpr int kMostRows = 32;

/// How results reach memory. kStreaming passes by the caches (non-temporal stores): memory is then
/// not read before it is written, which pays for results that are not read again soon. Other
/// threads see such results after ProductKernels::fence().
enum class StoreMode { kCached, kStreaming };

/// Where sums go, rounded to `format`, which is float32 or bfloat16: row r at element r * stride of
/// `out`.
struct Destination {
  void* out = nullptr;
  int64_t stride = 0;
  NumberFormat format = NumberFormat::kFloat32;
  StoreMode mode = StoreMode::kCached;
};

/// Rows [row, row + rows) and columns [column, column + columns) of a matrix.
struct Part {
  int64_t row, rows, column, columns;
};

/// C (rows, columns) = [C +] A B from one panel each; C is float32 with `stride` between rows.
using Tile = void (*)(int64_t units, const float* a, const float* b, float* c, int64_t stride,
                      bool add);
/// The same with the result somewhere else than C, which is only read, and only for `add`.
using TileStore = void (*)(int64_t units, const float* a, const float* b, const float* c,
                           int64_t stride, bool add, const Destination& to);
/// Packs a part of a matrix into panels of `width` lanes, which follow each other at `stride`
/// floats, ProductKernels::panel_stride(). What the last one has beyond the lanes of the part is 0.
using Pack = void (*)(const Matrix& source, const Part& part, int64_t width, int64_t stride,
                      float* panels);

/// How a matrix in one format meets panels of one kind. Null where it cannot.
struct FormatKernels {
  /// The rows of the part become lanes: a transposition.
  Pack pack_transposed = nullptr;
  /// The columns of the part become lanes: a copy row by row.
  Pack pack_copied = nullptr;
  /// The same for A, where its panels have another layout than those of B (amx/pack.h).
  Pack pack_a_rows = nullptr, pack_a_columns = nullptr;
  /// Tile on a B that is not packed: its steps of depth are rows of the matrix from `row` on, its
  /// columns those from `column` on, as many as a tile has. `a` is a panel.
  void (*tile_in_place[kMostRows + 1])(const Matrix& b, int64_t row, int64_t column, int64_t depth,
                                       const float* a, float* c, int64_t stride, bool add) = {};
  /// C (m, vector) = A B, m in [1, transposing_rows], on a B that is not packed: its columns are
  /// `count` rows of the matrix from `row` on, at most `vector`, which are transposed in registers.
  /// A's panel is as deep as the product.
  void (*tile_transposing[kMostRows + 1])(const Matrix& b, int64_t row, int64_t count,
                                          int64_t depth, const float* a, float* c,
                                          int64_t stride) = {};
};

/// The loops over panels of one kind of unit.
struct ProductKernels {
  int rows;              ///< of a full tile
  int columns;           ///< of every tile, a multiple of `vector`
  int vector;            ///< lanes of a register
  int step;              ///< elements of depth in a unit
  int transposing_rows;  ///< the most that tile_transposing takes; 0: there is none
  /// tile[m]: m in [1, rows].
  Tile tile[kMostRows + 1];
  TileStore tile_to_float32[kMostRows + 1];
  TileStore tile_to_bfloat16[kMostRows + 1];
  FormatKernels formats[kFormats];
  /// Makes streaming stores seen by other threads.
  void (*fence)();
  /// Multiply-adds in registers alone, for measuring the processor; returns how many. `values`
  /// holds `vector` floats.
  int64_t (*multiply_adds)(int64_t rounds, float* values);
  int unit_multiple = 1;     ///< panels are filled up with zeros to a multiple of so many units
  int row_multiple = 1;      ///< panels of A are best so many rows high, but for the last
  int slack = 0;             ///< floats behind a panel that packing may write or tiles may read
  int64_t fewest_depth = 0;  ///< of products that these loops are for
  /// Around the products of a thread's item of work; null: nothing to do.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;

  const FormatKernels& of(NumberFormat format) const { return formats[static_cast<int>(format)]; }
  bool take(NumberFormat format) const { return of(format).pack_copied != nullptr; }
  TileStore tile_store(NumberFormat to, int64_t m) const {
    return (to == NumberFormat::kFloat32 ? tile_to_float32 : tile_to_bfloat16)[m];
  }
  int64_t units(int64_t depth) const {
    const int64_t least = (depth + step - 1) / step;
    return (least + unit_multiple - 1) / unit_multiple * unit_multiple;
  }
  /// Floats from a panel to the next.
  int64_t panel_stride(int64_t width, int64_t depth) const { return width * units(depth) + slack; }
};

/// All loops of one instruction set.
struct Kernels {
  RowKernels<float> float32;
  RowKernels<BFloat16> bfloat16;
  ChoiceKernels choice;
  /// On panels of float32, to which every format is widened as it is packed.
  ProductKernels floats;
  /// On panels of pairs of bfloat16; takes no format where the set has no such instruction.
  ProductKernels pairs;
  /// The same on the tiles of AMX.
  ProductKernels tiles = {};

  template <class T>
  const RowKernels<T>& of() const;

  /// The loops for a product of matrices in these formats over so many steps of depth.
  const ProductKernels& product(NumberFormat a, NumberFormat b, int64_t depth) const {
    if (tiles.take(a) && tiles.take(b) && depth >= tiles.fewest_depth) return tiles;
    return pairs.take(a) && pairs.take(b) ? pairs : floats;
  }
};

template <>
inline const RowKernels<float>& Kernels::of<float>() const {
  return float32;
}
template <>
inline const RowKernels<BFloat16>& Kernels::of<BFloat16>() const {
  return bfloat16;
}

/// The tables. Those of x86 exist only in builds for x86, and only a processor that has the
/// instructions may call what they hold.
const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();
const Kernels& amx_bf16_kernels();
/// The portable ones with the tiles of AMX in plain C++, number for number what the instructions
/// give: for tests on processors without them.
const Kernels& plain_tile_kernels();

}  // namespace moe::ops::cpu
