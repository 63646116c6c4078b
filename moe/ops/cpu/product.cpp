// Products cut into items of work, and the items handed out to threads.
#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/block_run.h>

namespace moe::ops::cpu {

namespace {

/// Units of depth in a block: a panel of A (14 x 512 x 4 bytes) leaves the first-level cache space
/// for B to stream through.
constexpr int64_t kDepthUnits = 512;
/// Floats of a packed block of B: half of a second-level cache of 1 MiB.
constexpr int64_t kBlockFloats = 128 * 1024;
constexpr int64_t kMostColumns = 512;
/// Units of depth of a product that uses B in place: such a piece of B is still in the first-level
/// cache for a second panel of A.
constexpr int64_t kInPlaceUnits = 32;
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

Cut cut(const Product& product, const ItemSize& size) {
  const ProductKernels& kernels = *product.kernels;
  const bool once = is_used_in_place(product);
  const int64_t most_depth = (once ? kInPlaceUnits : kDepthUnits) * kernels.step;
  const int64_t depth = part_of(product.depth, most_depth, kernels.step * kernels.unit_multiple);
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

std::vector<Item> items_of(const std::vector<Product>& products, const ItemSize& size) {
  std::vector<Item> items;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& product = products[i];
    const Cut parts = cut(product, size);
    for (int64_t row = 0; row < product.rows; row += parts.rows)
      for (int64_t column = 0; column < product.columns; column += parts.item_columns)
        items.push_back({i,
                         {row, std::min(parts.rows, product.rows - row), column,
                          std::min(parts.item_columns, product.columns - column)}});
  }
  return items;
}

ItemSize largest_items(const std::vector<Product>& products) {
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

/// Happens when as many items are done as were added.
class Event {
 public:
  void add_item() { left_.fetch_add(1, std::memory_order_relaxed); }
  void item_done() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_all();
  }
  void wait() const {
    for (int64_t left; (left = left_.load(std::memory_order_acquire)) > 0;) left_.wait(left);
  }

 private:
  std::atomic<int64_t> left_ = 0;
};

/// Around one item: waits for its event before, and signals its own afterwards, also when the item
/// throws, so that nobody waits for ever.
class ItemScope {
 public:
  ItemScope(const Dependencies& dependencies, std::vector<Event>& events)
      : signals_(dependencies.signal < 0 ? nullptr
                                         : &events[static_cast<size_t>(dependencies.signal)]) {
    if (dependencies.wait_for >= 0) events[static_cast<size_t>(dependencies.wait_for)].wait();
  }
  ~ItemScope() {
    if (signals_) signals_->item_done();
  }
  ItemScope(const ItemScope&) = delete;
  ItemScope& operator=(const ItemScope&) = delete;

 private:
  Event* const signals_;
};

/// Around one item, for loops that set the processor up.
class TilesInUse {
 public:
  explicit TilesInUse(const ProductKernels& kernels) : end_(kernels.end) {
    if (kernels.begin) kernels.begin();
  }
  ~TilesInUse() {
    if (end_) end_();
  }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

 private:
  void (*const end_)();
};

std::vector<Event> events_of(const std::vector<Product>& products, const std::vector<Item>& items) {
  int64_t count = 0;
  for (const auto& product : products)
    count = std::max({count, product.dependencies.wait_for + 1, product.dependencies.signal + 1});
  std::vector<Event> events(static_cast<size_t>(count));
  for (const Item& item : items)
    if (const int64_t event = products[item.product].dependencies.signal; event >= 0)
      events[static_cast<size_t>(event)].add_item();
  return events;
}

}  // namespace

void Operand::pack(const ProductKernels& kernels, int64_t lane, int64_t lanes, int64_t width,
                   int64_t step, int64_t depth, float* panels) const {
  const FormatKernels& format = kernels.of(matrix.format);
  const int64_t stride = kernels.panel_stride(width, depth);
  if (depth_contiguous)
    format.pack_transposed(matrix, {lane, lanes, step, depth}, width, stride, panels);
  else
    format.pack_copied(matrix, {step, depth, lane, lanes}, width, stride, panels);
}

void Operand::pack_a(const ProductKernels& kernels, int64_t lane, int64_t lanes, int64_t width,
                     int64_t step, int64_t depth, float* panels) const {
  const FormatKernels& format = kernels.of(matrix.format);
  if (!format.pack_a_rows) return pack(kernels, lane, lanes, width, step, depth, panels);
  const int64_t stride = kernels.panel_stride(width, depth);
  if (depth_contiguous)
    format.pack_a_rows(matrix, {lane, lanes, step, depth}, width, stride, panels);
  else
    format.pack_a_columns(matrix, {step, depth, lane, lanes}, width, stride, panels);
}

void Operand::prefetch(int64_t lane, int64_t lanes, int64_t step, int64_t depth, int64_t part,
                       int64_t parts) const {
  constexpr int64_t kLine = 64;
  const int64_t first = depth_contiguous ? lane : step, count = depth_contiguous ? lanes : depth;
  const int64_t from = bytes_of(matrix.format, depth_contiguous ? step : lane),
                length = bytes_of(matrix.format, depth_contiguous ? depth : lanes);
  for (int64_t r = count * part / parts; r < count * (part + 1) / parts; ++r) {
    const char* const row = matrix.row(first + r) + from;
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

void run(const std::vector<Product>& products) {
  ItemSize size = largest_items(products);
  auto items = items_of(products, size);
  while (threads() > 1 && static_cast<int64_t>(items.size()) < kItemsPerThread * threads() &&
         halve(size))
    items = items_of(products, size);
  auto events = events_of(products, items);
  for_each_item(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const Product& product = products[item.product];
    const ItemScope scope(product.dependencies, events);
    const TilesInUse tiles(*product.kernels);
    BlockRun(product, cut(product, size), item.block)();
    product.kernels->fence();
  });
}

}  // namespace moe::ops::cpu
