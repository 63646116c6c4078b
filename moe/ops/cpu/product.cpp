// Products cut into items of work, and the items handed out to threads.
#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/block_run.h>

namespace moe::ops::cpu {

namespace {

/// Units of depth in a block: a panel of A (14 x 512 x 4 bytes) leaves the first-level cache room
/// for B to stream through.
constexpr int64_t kDepthUnits = 512;
/// Floats of a packed block of B: half of a second-level cache of 1 MiB.
constexpr int64_t kBlockFloats = 128 * 1024;
constexpr int64_t kMostColumns = 512;
/// The same in a product of few rows, which uses B once: it stays in the first-level cache.
constexpr int64_t kRowPieceUnits = 32;
/// Rows of a work item, and floats of its packed A (they wait in the third-level cache).
constexpr int64_t kItemRows = 1024, kFewestItemRows = 56, kItemFloats = 4 * 1024 * 1024;
/// Work items a thread, so that the last ones to finish do not wait long.
constexpr int64_t kItemsPerThread = 4;

/// n cut into the fewest parts of at most `most`, all nearly equal and multiples of `of`.
int64_t part_of(int64_t n, int64_t most, int64_t of) {
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return std::min(up_to_multiple((n + parts - 1) / parts, of), up_to_multiple(most, of));
}

/// At most so many rows and columns an item.
struct ItemSize {
  int64_t rows, columns;
};

template <class T>
Cut cut(const Product<T>& product, const ProductKernels<T>& kernels, const ItemSize& size) {
  const bool once = is_used_in_place(product, kernels);
  const int64_t most_depth = (once ? kRowPieceUnits : kDepthUnits) * kernels.step;
  const int64_t depth = part_of(product.depth, most_depth, kernels.step);
  const int64_t units = kernels.units(depth);
  const int64_t fit = std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(units, 1),
                                          4 * kernels.columns, kMostColumns) /
                      (kernels.columns * product.halves) * kernels.columns;
  const int64_t columns =
      part_of(product.columns, std::max<int64_t>(fit, kernels.columns), kernels.columns);
  const int64_t rows = std::clamp<int64_t>(
      kItemFloats / std::max<int64_t>(kernels.units(product.depth), 1), kFewestItemRows, size.rows);
  return {depth, columns, part_of(product.rows, rows, kernels.rows),
          up_to_multiple(std::min(size.columns, product.columns), columns)};
}

struct Item {
  size_t product;
  Block block;
};

template <class T>
std::vector<Item> items_of(const std::vector<Product<T>>& products,
                           const ProductKernels<T>& kernels, const ItemSize& size) {
  std::vector<Item> items;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product<T>& product = products[i];
    const Cut parts = cut(product, kernels, size);
    for (int64_t row = 0; row < product.rows; row += parts.rows)
      for (int64_t column = 0; column < product.columns; column += parts.item_columns)
        items.push_back({i,
                         {row, std::min(parts.rows, product.rows - row), column,
                          std::min(parts.item_columns, product.columns - column)}});
  }
  return items;
}

template <class T>
ItemSize largest_items(const std::vector<Product<T>>& products) {
  ItemSize size{0, 0};
  for (const auto& product : products) {
    size.rows = std::max(size.rows, std::min(product.rows, kItemRows));
    size.columns = std::max(size.columns, product.columns);
  }
  return size;
}

/// Halves items where they are longest; false where they are as small as they may be.
bool halve(ItemSize& size) {
  int64_t& longest = size.columns > size.rows ? size.columns : size.rows;
  if (longest <= kFewestItemRows) return false;
  longest = (longest + 1) / 2;
  return true;
}

/// Gates, each open when none of its items is left.
class Gate {
 public:
  void add() { left_.fetch_add(1, std::memory_order_relaxed); }
  void done() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_all();
  }
  void wait() const {
    for (int64_t left; (left = left_.load(std::memory_order_acquire)) > 0;) left_.wait(left);
  }

 private:
  std::atomic<int64_t> left_ = 0;
};

/// One item between its gates: what waits for it must not wait for ever, whatever happens.
class Passage {
 public:
  Passage(const Gates& gates, std::vector<Gate>& all)
      : opens_(gates.opens < 0 ? nullptr : &all[static_cast<size_t>(gates.opens)]) {
    if (gates.after >= 0) all[static_cast<size_t>(gates.after)].wait();
  }
  ~Passage() {
    if (opens_) opens_->done();
  }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

 private:
  Gate* const opens_;
};

template <class T>
std::vector<Gate> gates_of(const std::vector<Product<T>>& products,
                           const std::vector<Item>& items) {
  int64_t count = 0;
  for (const auto& product : products)
    count = std::max({count, product.gates.after + 1, product.gates.opens + 1});
  std::vector<Gate> gates(static_cast<size_t>(count));
  for (const Item& item : items)
    if (const int64_t gate = products[item.product].gates.opens; gate >= 0)
      gates[static_cast<size_t>(gate)].add();
  return gates;
}

}  // namespace

template <class T>
void Operand<T>::pack(const ProductKernels<T>& kernels, int64_t lane, int64_t lanes, int64_t width,
                      int64_t step, int64_t depth, float* panels) const {
  RowsOf<T> part = rows.from(rows_are_lanes ? lane : step);
  part.data += rows_are_lanes ? step : lane;
  (rows_are_lanes ? kernels.pack_lanes : kernels.pack_depth)(part, lanes, width, depth, panels);
}

template <class T>
void Operand<T>::prefetch(int64_t lane, int64_t lanes, int64_t step, int64_t depth, int64_t part,
                          int64_t parts) const {
  constexpr int64_t kLine = 64 / sizeof(T);
  const int64_t first = rows_are_lanes ? lane : step, count = rows_are_lanes ? lanes : depth;
  const int64_t from = rows_are_lanes ? step : lane, length = rows_are_lanes ? depth : lanes;
  for (int64_t r = count * part / parts; r < count * (part + 1) / parts; ++r) {
    const T* const row = rows.row(first + r) + from;
    for (int64_t i = 0; i < length; i += kLine) __builtin_prefetch(row + i, 0, 2);
  }
}

int64_t threads() {
  return at::in_parallel_region() ? 1 : at::get_num_threads();
}

void for_each_item(int64_t count, const std::function<void(int64_t)>& item) {
  const int64_t most = std::min(count, threads());
  if (most <= 1) {
    for (int64_t i = 0; i < count; ++i) item(i);
    return;
  }
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, most, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) item(i);
  });
}

template <class T>
void run(const std::vector<Product<T>>& products, const ProductKernels<T>& kernels) {
  ItemSize size = largest_items(products);
  auto items = items_of(products, kernels, size);
  while (threads() > 1 && static_cast<int64_t>(items.size()) < kItemsPerThread * threads() &&
         halve(size))
    items = items_of(products, kernels, size);
  auto gates = gates_of(products, items);
  for_each_item(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const Product<T>& product = products[item.product];
    const Passage passage(product.gates, gates);
    BlockRun<T>(product, kernels, cut(product, kernels, size), item.block)();
    kernels.fence();
  });
}

template struct Operand<float>;
template struct Operand<BFloat16>;
template void run<float>(const std::vector<Product<float>>&, const ProductKernels<float>&);
template void run<BFloat16>(const std::vector<Product<BFloat16>>&, const ProductKernels<BFloat16>&);

}  // namespace moe::ops::cpu
