#pragma once
// One item of work: a block of one product. Its thread packs a block of B into its second-level
// cache, then multiplies it with panel after panel of A, which are packed when first met and kept
// for the other blocks of B. While it multiplies, what it packs next is on its way from memory.
#include <algorithm>

#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

inline int64_t up_to_multiple(int64_t n, int64_t of) {
  return (n + of - 1) / of * of;
}

/// How a product is cut: blocks of B of `depth` x `columns`, work items of `rows` x `item_columns`.
/// None of it changes a result.
struct Cut {
  int64_t depth, columns, rows, item_columns;
};

/// `rows` in the fewest panels of at most `most`. Heights differ by one at most: 16 rows are 8 and
/// 8, not 14 and 2; or, where they had best be a multiple of more than one row, all but the last
/// are. The first `tall` have `height` rows, the others `low`.
struct Panels {
  int64_t count, height, tall, low;

  Panels(int64_t rows, int64_t most, int64_t multiple)
      : count((rows + most - 1) / most),
        height(count > 0 ? (rows + count - 1) / count : 0),
        tall(count - (count * height - rows)),
        low(height - 1) {
    if (multiple == 1 || count == 0) return;
    height = std::min(rows, most);
    tall = count - 1;
    low = rows - tall * height;
  }

  int64_t height_of(int64_t panel) const { return panel < tall ? height : low; }
  int64_t row(int64_t panel) const {
    return std::min(panel, tall) * height + std::max<int64_t>(0, panel - tall) * low;
  }
  /// The panels from this one on that are as high as it is, at most `most`.
  int64_t alike(int64_t panel, int64_t most) const {
    return std::min(most, (panel < tall ? tall : count) - panel);
  }
};

/// So few rows that packing blocks of B would not pay.
inline bool has_few_rows(int64_t rows, const ProductKernels& kernels) {
  return kernels.transposing_rows > 0 && rows <= 2 * kernels.rows;
}

/// Few rows, and steps of depth that are rows in memory: B is multiplied where it stands.
inline bool is_used_in_place(const Product& product) {
  return has_few_rows(product.rows, *product.kernels) && !product.b.depth_contiguous &&
         !product.b.matrix.index && product.halves == 1;
}

class BlockRun {
 public:
  BlockRun(const Product& product, const Cut& cut, const Block& block)
      : product_(product),
        kernels_(*product.kernels),
        b_kernels_(kernels_.of(product.b.matrix.format)),
        block_(block),
        depth_(cut.depth),
        columns_(std::min(cut.columns, block.columns)),
        half_(up_to_multiple(columns_, kernels_.columns)),
        whole_(product.depth <= depth_),
        in_place_(is_used_in_place(product)),
        transposing_(product.b.depth_contiguous && has_few_rows(block.rows, kernels_)),
        panels_(block.rows, transposing_ ? kernels_.transposing_rows : kernels_.rows,
                kernels_.row_multiple),
        rows_of_c_(whole_ && !transposing_ ? panels_.height : block.rows),
        size_of_b_(up_to_multiple(product.halves * half_ / kernels_.columns *
                                      kernels_.panel_stride(kernels_.columns, depth_),
                                  16)),
        size_of_a_(up_to_multiple(a_from(product.depth) + kernels_.slack, 16)),
        memory_(sizeof(float) *
                static_cast<size_t>(size_of_b_ + size_of_a_ + rows_of_c_ * stride())),
        b_(memory_.as<float>()),
        a_(b_ + size_of_b_),
        c_(a_ + size_of_a_) {}

  void operator()() {
    if (transposing_) return multiply_transposing();
    for (int64_t column = 0; column < block_.columns; column += columns_) {
      const int64_t columns = std::min(columns_, block_.columns - column);
      for (int64_t k = 0; k < product_.depth; k += depth_)
        multiply(column, columns, k, std::min(depth_, product_.depth - k));
      if (!whole_) finish(column, columns, 0, block_.rows, stored_columns(columns));
    }
  }

 private:
  /// Panels of A packed at a time where its depth is contiguous; where it is not, as many as make
  /// long reads of each step of depth.
  static constexpr int64_t kPanels = 4, kWidePanels = 16;

  int64_t stride() const { return product_.halves * half_; }

  /// Few rows, and columns of B that are rows in memory: B is transposed in registers, a register
  /// of columns at a time, and never packed. For a second panel it is still in a cache.
  void multiply_transposing() {
    float* a = a_;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t height = panels_.height_of(panel);
      product_.a.pack_a(kernels_, block_.row + panels_.row(panel), height, height, 0,
                        product_.depth, a);
      a += kernels_.panel_stride(height, product_.depth);
    }
    for (int64_t from = 0; from < block_.columns; from += columns_) {
      const int64_t columns = std::min(columns_, block_.columns - from);
      for (int64_t half = 0; half < product_.halves; ++half)
        for (int64_t column = 0; column < columns; column += kernels_.vector) {
          const int64_t lane = half * product_.columns + block_.column + from + column;
          const int64_t lanes = std::min<int64_t>(kernels_.vector, columns - column);
          multiply_all_panels(lane, lanes, c_ + half * half_ + column);
        }
      finish(from, columns, 0, block_.rows);
    }
  }

  /// All panels of A with a register of columns of B.
  void multiply_all_panels(int64_t lane, int64_t lanes, float* sums) const {
    const float* a = a_;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t height = panels_.height_of(panel);
      b_kernels_.tile_transposing[height](product_.b.matrix, lane, lanes, product_.depth, a,
                                          sums + panels_.row(panel) * stride(), stride());
      a += kernels_.panel_stride(height, product_.depth);
    }
  }

  /// C (all rows, these columns) [+]= A B over this depth.
  void multiply(int64_t column, int64_t columns, int64_t k, int64_t depth) {
    if (!in_place_) pack_b(column, columns, k, depth);
    float* a = a_ + a_from(k);
    const int64_t group = product_.a.depth_contiguous ? kPanels : kWidePanels;
    int64_t packed = column == 0 ? 0 : panels_.count;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t row = panels_.row(panel), height = panels_.height_of(panel);
      if (panel == packed) {
        const int64_t alike = panels_.alike(panel, group);
        product_.a.pack_a(kernels_, block_.row + row, alike * height, height, k, depth, a);
        packed += alike;
      }
      float* const sums = c_ + (whole_ ? 0 : row) * stride();
      if (in_place_) {
        multiply_in_place(column, columns, a, height, sums, k, depth);
      } else {
        ask_ahead(column, columns, k, depth, panel);
        const bool last = k + depth >= product_.depth;
        multiply_panel(row, column, columns, a, height, sums, depth, k > 0,
                       last ? stored_columns(columns) : 0);
      }
      if (whole_) finish(column, columns, row, height, stored_columns(columns));
      a += kernels_.panel_stride(height, depth);
    }
  }

  /// A panel of A with columns of B that are not packed, but for those of a narrow panel.
  void multiply_in_place(int64_t column, int64_t columns, const float* a, int64_t rows, float* sums,
                         int64_t k, int64_t depth) {
    const int64_t width = kernels_.columns;
    for (int64_t from = 0; from < columns; from += width) {
      const int64_t lane = block_.column + column + from, lanes = std::min(width, columns - from);
      if (lanes == width) {
        b_kernels_.tile_in_place[rows](product_.b.matrix, k, lane, depth, a, sums + from, stride(),
                                       k > 0);
      } else {
        product_.b.pack(kernels_, lane, lanes, width, k, depth, b_);
        kernels_.tile[rows](kernels_.units(depth), a, b_, sums + from, stride(), k > 0);
      }
    }
  }

  /// At panel after panel: for the block of B after this one, and for rows of A to be packed.
  void ask_ahead(int64_t column, int64_t columns, int64_t k, int64_t depth, int64_t panel) const {
    const bool deeper = k + depth < product_.depth;
    const int64_t next = deeper ? column : column + columns, step = deeper ? k + depth : 0;
    const int64_t lanes = std::min(columns_, block_.columns - next);
    for (int64_t half = 0; lanes > 0 && half < product_.halves; ++half)
      product_.b.prefetch(half * product_.columns + block_.column + next, lanes, step,
                          std::min(depth_, product_.depth - step), panel, panels_.count);
    const int64_t later = panel + (product_.a.depth_contiguous ? kPanels : kWidePanels);
    if (column == 0 && later < panels_.count)
      product_.a.prefetch(block_.row + panels_.row(later), panels_.height_of(later), k, depth, 0,
                          1);
  }

  void pack_b(int64_t column, int64_t columns, int64_t k, int64_t depth) {
    float* panels = b_;
    for (int64_t half = 0; half < product_.halves; ++half) {
      product_.b.pack(kernels_, half * product_.columns + block_.column + column, columns,
                      kernels_.columns, k, depth, panels);
      panels += half_ / kernels_.columns * kernels_.panel_stride(kernels_.columns, depth);
    }
  }

  /// Of so many columns, those that tiles write straight to the destination.
  int64_t stored_columns(int64_t columns) const {
    return product_.destination.out && !in_place_ ? columns / kernels_.columns * kernels_.columns
                                                  : 0;
  }

  /// A panel of A, whose first row is `row`, with the packed columns from `column` on. The first
  /// `stored` of them go to the destination.
  void multiply_panel(int64_t row, int64_t column, int64_t columns, const float* a, int64_t rows,
                      float* sums, int64_t depth, bool add, int64_t stored) const {
    const int64_t units = kernels_.units(depth);
    const int64_t next = kernels_.panel_stride(kernels_.columns, depth);
    for (int64_t half = 0; half < product_.halves; ++half) {
      const float* panel = b_ + half * (half_ / kernels_.columns) * next;
      for (int64_t from = 0; from < columns; from += kernels_.columns) {
        float* const c = sums + half * half_ + from;
        if (from < stored)
          kernels_.tile_store(product_.destination.format, rows)(
              units, a, panel, c, stride(), add, destination_of(row, column + from));
        else
          kernels_.tile[rows](units, a, panel, c, stride(), add);
        panel += next;
      }
    }
  }

  /// The destination of a row and a column of the block, and what follows.
  Destination destination_of(int64_t row, int64_t column) const {
    Destination to = product_.destination;
    const int64_t element = (block_.row + row) * to.stride + block_.column + column;
    to.out = static_cast<char*>(to.out) + element * bytes_of(to.format);
    return to;
  }

  /// Where the panels of A for the depth from k on begin; k is a multiple of depth_, or the end.
  /// depth_ is a multiple of what panels are filled up to.
  int64_t a_from(int64_t k) const {
    const int64_t blocks = (k + depth_ - 1) / std::max<int64_t>(depth_, 1);
    return block_.rows * kernels_.units(k) + blocks * panels_.count * kernels_.slack;
  }

  /// The sums of `rows` rows from `row` of the block on stand at the beginning of c_; the first
  /// `done` columns need nothing more.
  void finish(int64_t column, int64_t columns, int64_t row, int64_t rows, int64_t done = 0) const {
    if (done < columns)
      product_.finish({block_.row + row, rows, block_.column + column + done, columns - done},
                      {c_ + done, stride(), half_});
  }

  const Product& product_;
  const ProductKernels& kernels_;
  const FormatKernels& b_kernels_;
  const Block block_;
  const int64_t depth_, columns_, half_;
  const bool whole_, in_place_, transposing_;
  const Panels panels_;
  const int64_t rows_of_c_;
  const int64_t size_of_b_, size_of_a_;
  const Workspace memory_;
  float *const b_, *const a_, *const c_;
};

}  // namespace moe::ops::cpu
