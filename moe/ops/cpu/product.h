#pragma once
// Many products of different sizes at once. C (rows, columns) = A (rows, depth) B (depth, columns).

#include <algorithm>
#include <functional>
#include <vector>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// A or B where it stands. Its lanes are the rows of A or the columns of B.
struct Operand {
  Matrix matrix;
  /// Whether a row of the matrix is a lane, which runs along the depth; else it is a step of depth.
  bool depth_contiguous;

  /// Packs lanes [lane, lane + lanes) and steps [step, step + depth) as B, or as A.
  void pack(const ProductKernels& kernels, int64_t lane, int64_t lanes, int64_t width, int64_t step,
            int64_t depth, float* panels) const;
  void pack_a(const ProductKernels& kernels, int64_t lane, int64_t lanes, int64_t width,
              int64_t step, int64_t depth, float* panels) const;
  /// Asks for part `part` of `parts` of what such a pack() will read.
  void prefetch(int64_t lane, int64_t lanes, int64_t step, int64_t depth, int64_t part,
                int64_t parts) const;
};

/// Rows [row, row + rows) and columns [column, column + columns) of a product.
struct Block {
  int64_t row, rows, column, columns;
};

/// The finished sums of a block, row r at sums + r * stride; in a product of two halves those of
/// the second half `half` further on.
struct Sums {
  const float* sums;
  int64_t stride, half;
};

/// Which products of a list wait for which. An event happens when all products that signal it are
/// done; they stand in the list before those that wait for it. -1: none.
struct Dependencies {
  int64_t wait_for = -1, signal = -1;
};

struct Product {
  /// Those of the operands' formats (Kernels::product).
  const ProductKernels* kernels;
  Operand a, b;
  int64_t rows, columns, depth;
  /// 2: C = A [B_1, B_2], both of `columns` columns, B_2 that many lanes behind B_1, so that
  /// `finish` sees a gate beside its value.
  int64_t halves = 1;
  /// Takes every element once; called from any thread.
  std::function<void(const Block&, const Sums&)> finish;
  /// With a place, tiles write there from registers what `finish` would, which gets what is left of
  /// the columns. Only with one half.
  Destination destination = {};
  Dependencies dependencies = {};
};

/// The threads that take part.
int64_t threads();

/// Rows of `width` numbers that a thread takes at least in passes over rows, so that small inputs
/// stay on one thread.
inline int64_t rows_a_thread(int64_t width) {
  return std::max<int64_t>(1, 16384 / (width + 16));
}

/// Runs them all, blocks handed out in order to the threads of at::parallel_for as these come free.
void run(const std::vector<Product>& products);

/// Calls item(0) ... item(count - 1), handed out in the same way.
void for_each_item(int64_t count, const std::function<void(int64_t)>& item);

}  // namespace moe::ops::cpu
