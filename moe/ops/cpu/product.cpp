// Blocks: a thread packs a block of B into its second-level cache, then panel after panel of A into
// the first-level cache, and multiplies each with all of B's panels.
#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

/// Units of depth in a block: a panel of A (14 x 512 x 4 bytes) leaves the first-level cache room
/// for B to stream through.
constexpr int64_t kDepthUnits = 512;
/// Floats of a packed block of B: half of a second-level cache of 1 MiB.
constexpr int64_t kBlockFloats = 128 * 1024;
constexpr int64_t kMostColumns = 512;
/// Units of depth in a piece of B that is used once.
constexpr int64_t kPieceUnits = 128;
/// Panels of A packed at a time: rows of memory are read in pieces of that many panels' width.
constexpr int64_t kPanels = 4;
/// Groups of as many panels whose sums wait for the next block of depth.
constexpr int64_t kWaitingGroups = 4;
/// Rows of a work item.
constexpr int64_t kItemRows = 1024, kFewestItemRows = 56;
/// Work items a thread, so that the last ones to finish do not wait long.
constexpr int64_t kItemsPerThread = 4;

int64_t up_to_multiple(int64_t n, int64_t of) {
  return (n + of - 1) / of * of;
}

/// n cut into the fewest parts of at most `most`, all nearly equal and multiples of `of`.
int64_t part_of(int64_t n, int64_t most, int64_t of) {
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return std::min(up_to_multiple((n + parts - 1) / parts, of), up_to_multiple(most, of));
}

/// How a product is cut. None of it changes a result.
struct Cut {
  int64_t depth, columns, rows;
};

template <class T>
Cut cut(const Product<T>& product, const ProductKernels<T>& kernels, int64_t item_rows) {
  const int64_t depth = part_of(product.depth, kDepthUnits * kernels.step, kernels.step);
  const int64_t units = kernels.units(depth);
  const int64_t fit = std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(units, 1),
                                          4 * kernels.columns, kMostColumns) /
                      (kernels.columns * product.halves) * kernels.columns;
  const int64_t columns =
      part_of(product.columns, std::max<int64_t>(fit, kernels.columns), kernels.columns);
  return {depth, columns, part_of(product.rows, item_rows, kernels.rows)};
}

template <class T>
class BlockRun {
 public:
  BlockRun(const Product<T>& product, const ProductKernels<T>& kernels, const Cut& cut)
      : product_(product),
        kernels_(kernels),
        depth_(cut.depth),
        half_(up_to_multiple(cut.columns, kernels.columns)),
        waiting_(kPanels * kernels.rows * (product.depth <= depth_ ? 1 : kWaitingGroups)),
        size_of_b_(up_to_multiple(product.halves * half_ / kernels.columns *
                                      kernels.panel_stride(kernels.columns, depth_),
                                  16)),
        size_of_a_(up_to_multiple(kPanels * kernels.panel_stride(kernels.rows, depth_), 16)),
        memory_(sizeof(float) * static_cast<size_t>(size_of_b_ + size_of_a_ + waiting_ * stride())),
        b_(memory_.as<float>()),
        a_(b_ + size_of_b_),
        c_(a_ + size_of_a_) {}

  void operator()(const Block& block) {
    if (streams(block)) return stream(block);
    // Sums of a product that is not cut along the depth are finished group by group.
    const bool whole = product_.depth <= depth_;
    if (whole) pack_b(block, 0, product_.depth);
    for (int64_t first = 0; first < block.rows; first += waiting_) {
      const int64_t begin = block.row + first, rows = std::min(waiting_, block.rows - first);
      for (int64_t k = 0; k < product_.depth; k += depth_) {
        const int64_t depth = std::min(depth_, product_.depth - k);
        if (!whole) pack_b(block, k, depth);
        multiply(block, begin, rows, k, depth);
      }
      finish(block, begin, rows, c_);
    }
  }

 private:
  int64_t stride() const { return product_.halves * half_; }

  /// Few rows and columns of B that are rows in memory: B comes from memory and is used once.
  bool streams(const Block& block) const {
    return product_.b.rows_are_lanes && block.rows <= kernels_.rows &&
           kernels_.panel_stride(block.rows, product_.depth) <= size_of_a_;
  }

  void stream(const Block& block) {
    product_.a.pack(kernels_, block.row, block.rows, block.rows, 0, product_.depth, a_);
    const int64_t width = block.rows <= kMostStreamRows ? kernels_.vector : kernels_.columns;
    for (int64_t half = 0; half < product_.halves; ++half)
      for (int64_t column = 0; column < block.columns; column += width) {
        const int64_t lane = half * product_.columns + block.column + column;
        const int64_t lanes = std::min(width, block.columns - column);
        float* const sums = c_ + half * half_ + column;
        if (block.rows <= kMostStreamRows)
          kernels_.stream[block.rows](product_.b.rows.from(lane), lanes, product_.depth, a_, sums,
                                      stride());
        else
          multiply_in_pieces(block.rows, lane, lanes, sums);
      }
    finish(block, block.row, block.rows, c_);
  }

  /// One panel of B in pieces that stay in the first-level cache.
  void multiply_in_pieces(int64_t rows, int64_t lane, int64_t lanes, float* sums) {
    for (int64_t k = 0; k < product_.depth; k += kPieceUnits * kernels_.step) {
      const int64_t depth = std::min(kPieceUnits * kernels_.step, product_.depth - k);
      product_.b.pack(kernels_, lane, lanes, kernels_.columns, k, depth, b_);
      kernels_.tile[rows](kernels_.units(depth), a_ + kernels_.units(k) * rows, b_, sums, stride(),
                          k > 0);
    }
  }

  void pack_b(const Block& block, int64_t k, int64_t depth) {
    float* panels = b_;
    for (int64_t half = 0; half < product_.halves; ++half) {
      product_.b.pack(kernels_, half * product_.columns + block.column, block.columns,
                      kernels_.columns, k, depth, panels);
      panels += half_ / kernels_.columns * kernels_.panel_stride(kernels_.columns, depth);
    }
  }

  /// The rows in panels of equal height (but for the last): 16 rows run as 8 and 8, not as 14
  /// and 2.
  void multiply(const Block& block, int64_t begin, int64_t rows, int64_t k, int64_t depth) {
    const int64_t panels = (rows + kernels_.rows - 1) / kernels_.rows;
    const int64_t height = (rows + panels - 1) / panels;
    for (int64_t first = 0; first < rows; first += kPanels * height) {
      const int64_t group = std::min(kPanels * height, rows - first), full = group / height;
      const float* panel = a_;
      product_.a.pack(kernels_, begin + first, full * height, height, k, depth, a_);
      for (int64_t row = first; row < first + full * height; row += height) {
        multiply_panel(block, panel, height, c_ + row * stride(), depth, k > 0);
        panel += kernels_.panel_stride(height, depth);
      }
      const int64_t rest = group - full * height, row = first + full * height;
      if (rest == 0) continue;
      product_.a.pack(kernels_, begin + row, rest, rest, k, depth, a_);
      multiply_panel(block, a_, rest, c_ + row * stride(), depth, k > 0);
    }
  }

  void multiply_panel(const Block& block, const float* a, int64_t rows, float* sums, int64_t depth,
                      bool add) const {
    const int64_t units = kernels_.units(depth);
    const int64_t next = kernels_.panel_stride(kernels_.columns, depth);
    for (int64_t half = 0; half < product_.halves; ++half) {
      const float* panel = b_ + half * (half_ / kernels_.columns) * next;
      for (int64_t column = 0; column < block.columns; column += kernels_.columns) {
        kernels_.tile[rows](units, a, panel, sums + half * half_ + column, stride(), add);
        panel += next;
      }
    }
  }

  void finish(const Block& block, int64_t row, int64_t rows, const float* sums) const {
    product_.finish({row, rows, block.column, block.columns}, {sums, stride(), half_});
  }

  const Product<T>& product_;
  const ProductKernels<T>& kernels_;
  const int64_t depth_, half_, waiting_, size_of_b_, size_of_a_;
  const Workspace memory_;
  float *const b_, *const a_, *const c_;
};

struct Item {
  size_t product;
  Block block;
};

template <class T>
std::vector<Item> items_of(const std::vector<Product<T>>& products,
                           const ProductKernels<T>& kernels, int64_t item_rows) {
  std::vector<Item> items;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product<T>& product = products[i];
    const Cut parts = cut(product, kernels, item_rows);
    for (int64_t row = 0; row < product.rows; row += parts.rows)
      for (int64_t column = 0; column < product.columns; column += parts.columns)
        items.push_back({i,
                         {row, std::min(parts.rows, product.rows - row), column,
                          std::min(parts.columns, product.columns - column)}});
  }
  return items;
}

template <class T>
void run_blocks(const std::vector<Product<T>>& products, const ProductKernels<T>& kernels) {
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  int64_t item_rows = kItemRows;
  auto items = items_of(products, kernels, item_rows);
  while (threads > 1 && static_cast<int64_t>(items.size()) < kItemsPerThread * threads &&
         item_rows > kFewestItemRows) {
    item_rows /= 2;
    items = items_of(products, kernels, item_rows);
  }
  for_each_item(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const Product<T>& product = products[item.product];
    BlockRun<T>(product, kernels, cut(product, kernels, item_rows))(item.block);
  });
}

}  // namespace

template <class T>
void Operand<T>::pack(const ProductKernels<T>& kernels, int64_t lane, int64_t lanes, int64_t width,
                      int64_t step, int64_t depth, float* panels) const {
  RowsOf<T> part = rows.from(rows_are_lanes ? lane : step);
  part.data += rows_are_lanes ? step : lane;
  (rows_are_lanes ? kernels.pack_lanes : kernels.pack_depth)(part, lanes, width, depth, panels);
}

void for_each_item(int64_t count, const std::function<void(int64_t)>& item) {
  if (count <= 1 || at::get_num_threads() == 1 || at::in_parallel_region()) {
    for (int64_t i = 0; i < count; ++i) item(i);
    return;
  }
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) item(i);
  });
}

template <class T>
void run(const std::vector<Product<T>>& products, const ProductKernels<T>& kernels) {
  run_blocks(products, kernels);
}

template struct Operand<float>;
template struct Operand<BFloat16>;
template void run<float>(const std::vector<Product<float>>&, const ProductKernels<float>&);
template void run<BFloat16>(const std::vector<Product<BFloat16>>&, const ProductKernels<BFloat16>&);

}  // namespace moe::ops::cpu
