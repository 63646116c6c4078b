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

/// `rows` in the fewest panels of at most `most`, whose heights differ by one at most: 16 rows are
/// 8 and 8, not 14 and 2. The first `tall` have `height` rows, the others one less.
struct Panels {
  int64_t count, height, tall;

  Panels(int64_t rows, int64_t most)
      : count((rows + most - 1) / most),
        height(count > 0 ? (rows + count - 1) / count : 0),
        tall(count - (count * height - rows)) {}

  int64_t height_of(int64_t panel) const { return panel < tall ? height : height - 1; }
  int64_t row(int64_t panel) const { return panel * height - std::max<int64_t>(0, panel - tall); }
  /// The panels from this one on that are as high as it is, at most `most`.
  int64_t alike(int64_t panel, int64_t most) const {
    return std::min(most, (panel < tall ? tall : count) - panel);
  }
};

/// So few rows that packing blocks of B would not pay.
template <class T>
bool has_few_rows(int64_t rows, const ProductKernels<T>& kernels) {
  return rows <= 2 * kernels.rows;
}

/// Few rows, and steps of depth that are rows in memory: B is multiplied where it stands.
template <class T>
bool is_used_in_place(const Product<T>& product, const ProductKernels<T>& kernels) {
  return has_few_rows(product.rows, kernels) && !product.b.rows_are_lanes &&
         !product.b.rows.index && product.halves == 1;
}

template <class T>
class BlockRun {
 public:
  BlockRun(const Product<T>& product, const ProductKernels<T>& kernels, const Cut& cut,
           const Block& block)
      : product_(product),
        kernels_(kernels),
        block_(block),
        depth_(cut.depth),
        columns_(std::min(cut.columns, block.columns)),
        half_(up_to_multiple(columns_, kernels.columns)),
        whole_(product.depth <= depth_),
        in_place_(is_used_in_place(product, kernels)),
        streams_(product.b.rows_are_lanes && has_few_rows(block.rows, kernels)),
        panels_(block.rows, streams_ ? kernels.stream_rows : kernels.rows),
        rows_of_c_(whole_ && !streams_ ? panels_.height : block.rows),
        size_of_b_(up_to_multiple(product.halves * half_ / kernels.columns *
                                      kernels.panel_stride(kernels.columns, depth_),
                                  16)),
        size_of_a_(up_to_multiple(a_from(product.depth) + kernels.vector, 16)),
        memory_(sizeof(float) *
                static_cast<size_t>(size_of_b_ + size_of_a_ + rows_of_c_ * stride())),
        b_(memory_.as<float>()),
        a_(b_ + size_of_b_),
        c_(a_ + size_of_a_) {}

  void operator()() {
    if (streams_) return stream();
    for (int64_t column = 0; column < block_.columns; column += columns_) {
      const int64_t columns = std::min(columns_, block_.columns - column);
      for (int64_t k = 0; k < product_.depth; k += depth_)
        multiply(column, columns, k, std::min(depth_, product_.depth - k));
      if (!whole_) finish(column, columns, 0, block_.rows, plain_columns(columns));
    }
  }

 private:
  /// Panels of A packed at a time where rows are lanes; where rows are steps of depth, as many as
  /// make long reads of each.
  static constexpr int64_t kPanels = 4, kWidePanels = 16;

  int64_t stride() const { return product_.halves * half_; }

  /// Few rows, and columns of B that are rows in memory: B is transposed in registers, a register
  /// of columns at a time, and never packed. For a second panel it is still in a cache.
  void stream() {
    float* a = a_;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t height = panels_.height_of(panel);
      product_.a.pack(kernels_, block_.row + panels_.row(panel), height, height, 0, product_.depth,
                      a);
      a += kernels_.panel_stride(height, product_.depth);
    }
    for (int64_t from = 0; from < block_.columns; from += columns_) {
      const int64_t columns = std::min(columns_, block_.columns - from);
      for (int64_t half = 0; half < product_.halves; ++half)
        for (int64_t column = 0; column < columns; column += kernels_.vector) {
          const int64_t lane = half * product_.columns + block_.column + from + column;
          const int64_t lanes = std::min<int64_t>(kernels_.vector, columns - column);
          stream_panels(product_.b.rows.from(lane), lanes, c_ + half * half_ + column);
        }
      finish(from, columns, 0, block_.rows);
    }
  }

  /// All panels of A with a register of columns of B.
  void stream_panels(RowsOf<T> columns, int64_t count, float* sums) const {
    const float* a = a_;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t height = panels_.height_of(panel);
      kernels_.stream[height](columns, count, product_.depth, a,
                              sums + panels_.row(panel) * stride(), stride());
      a += kernels_.panel_stride(height, product_.depth);
    }
  }

  /// C (all rows, these columns) [+]= A B over this depth.
  void multiply(int64_t column, int64_t columns, int64_t k, int64_t depth) {
    if (!in_place_) pack_b(column, columns, k, depth);
    float* a = a_ + a_from(k);
    const int64_t group = product_.a.rows_are_lanes ? kPanels : kWidePanels;
    int64_t packed = column == 0 ? 0 : panels_.count;
    for (int64_t panel = 0; panel < panels_.count; ++panel) {
      const int64_t row = panels_.row(panel), height = panels_.height_of(panel);
      if (panel == packed) {
        const int64_t alike = panels_.alike(panel, group);
        product_.a.pack(kernels_, block_.row + row, alike * height, height, k, depth, a);
        packed += alike;
      }
      float* const sums = c_ + (whole_ ? 0 : row) * stride();
      if (in_place_) {
        multiply_in_place(column, columns, a, height, sums, k, depth);
      } else {
        ask_ahead(column, columns, k, depth, panel);
        const bool last = k + depth >= product_.depth;
        multiply_panel(row, column, columns, a, height, sums, depth, k > 0,
                       last ? plain_columns(columns) : 0);
      }
      if (whole_) finish(column, columns, row, height, plain_columns(columns));
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
        RowsOf<T> b = product_.b.rows.from(k);
        b.data += lane;
        kernels_.tile_rows[rows](b, depth, a, sums + from, stride(), k > 0);
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
    const int64_t later = panel + (product_.a.rows_are_lanes ? kPanels : kWidePanels);
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

  /// Of so many columns, those that tiles write where they belong.
  int64_t plain_columns(int64_t columns) const {
    const bool plain = product_.plain.out || product_.plain_sums.out;
    return plain && !in_place_ ? columns / kernels_.columns * kernels_.columns : 0;
  }

  /// A panel of A, whose first row is `row`, with the packed columns from `column` on. The first
  /// `plain` of them go where they belong.
  void multiply_panel(int64_t row, int64_t column, int64_t columns, const float* a, int64_t rows,
                      float* sums, int64_t depth, bool add, int64_t plain) const {
    const int64_t units = kernels_.units(depth);
    const int64_t next = kernels_.panel_stride(kernels_.columns, depth);
    for (int64_t half = 0; half < product_.halves; ++half) {
      const float* panel = b_ + half * (half_ / kernels_.columns) * next;
      for (int64_t from = 0; from < columns; from += kernels_.columns) {
        float* const c = sums + half * half_ + from;
        if (from >= plain)
          kernels_.tile[rows](units, a, panel, c, stride(), add);
        else if (product_.plain_sums.out)
          kernels_.tile_to_sums[rows](units, a, panel, c, stride(), add,
                                      at(product_.plain_sums, row, column + from));
        else
          kernels_.tile_to[rows](units, a, panel, c, stride(), add,
                                 at(product_.plain, row, column + from));
        panel += next;
      }
    }
  }

  /// The place of a row and a column of the block.
  template <class Out>
  Plain<Out> at(const Plain<Out>& plain, int64_t row, int64_t column) const {
    return {plain.out + (block_.row + row) * plain.stride + block_.column + column, plain.stride,
            plain.put};
  }

  /// Where the panels of A for the depth from k on begin; k is a multiple of depth_, or the end.
  int64_t a_from(int64_t k) const {
    const int64_t blocks = (k + depth_ - 1) / std::max<int64_t>(depth_, 1);
    return block_.rows * kernels_.units(k) + blocks * panels_.count * kernels_.vector;
  }

  /// The sums of `rows` rows from `row` of the block on stand at the beginning of c_; the first
  /// `done` columns need nothing more.
  void finish(int64_t column, int64_t columns, int64_t row, int64_t rows, int64_t done = 0) const {
    if (done < columns)
      product_.finish({block_.row + row, rows, block_.column + column + done, columns - done},
                      {c_ + done, stride(), half_});
  }

  const Product<T>& product_;
  const ProductKernels<T>& kernels_;
  const Block block_;
  const int64_t depth_, columns_, half_;
  const bool whole_, in_place_, streams_;
  const Panels panels_;
  const int64_t rows_of_c_;
  const int64_t size_of_b_, size_of_a_;
  const Workspace memory_;
  float *const b_, *const a_, *const c_;
};

}  // namespace moe::ops::cpu
