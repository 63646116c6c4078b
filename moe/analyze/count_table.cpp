#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include <moe/analyze/count_table.h>
#include <moe/base/error.h>

namespace moe::analyze {

namespace {

constexpr int64_t kKeptWhole = int64_t{1} << 18;

}  // namespace

int64_t CountTable::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

int64_t CountTable::at(int64_t row, int64_t column) const {
  const auto key = static_cast<uint64_t>(row * columns_ + column);
  const auto found = std::ranges::lower_bound(keys_, key);
  return found != keys_.end() && *found == key ? counts_[static_cast<size_t>(found - keys_.begin())]
                                               : 0;
}

std::vector<int64_t> CountTable::row_sums() const {
  std::vector<int64_t> sums(static_cast<size_t>(rows_), 0);
  for (size_t i = 0; i < size(); ++i)
    sums[keys_[i] / static_cast<uint64_t>(columns_)] += counts_[i];
  return sums;
}

std::vector<int64_t> CountTable::column_sums() const {
  std::vector<int64_t> sums(static_cast<size_t>(columns_), 0);
  for (size_t i = 0; i < size(); ++i)
    sums[keys_[i] % static_cast<uint64_t>(columns_)] += counts_[i];
  return sums;
}

CountTableBuilder::CountTableBuilder(int64_t rows, int64_t columns, std::string what,
                                     size_t most_cells)
    : rows_(rows), columns_(columns), what_(std::move(what)), most_cells_(most_cells) {
  check(rows >= 1 && columns >= 1 && rows <= std::numeric_limits<int64_t>::max() / columns,
        "analyze/counts", "expected a table of ", what_, " with at least one row and column, got ",
        rows, " x ", columns, '.');
  if (rows <= kKeptWhole / columns) whole_.resize(static_cast<size_t>(rows * columns), 0);
}

void CountTableBuilder::merge() {
  std::ranges::sort(waiting_);
  std::vector<uint64_t> keys;
  std::vector<int64_t> counts;
  keys.reserve(keys_.size() + waiting_.size() / 2);
  counts.reserve(keys.capacity());
  const auto append = [&](uint64_t key, int64_t count) {
    if (!keys.empty() && keys.back() == key) {
      counts.back() += count;
      return;
    }
    keys.push_back(key);
    counts.push_back(count);
  };
  size_t i = 0;
  for (const uint64_t key : waiting_) {
    for (; i < keys_.size() && keys_[i] <= key; ++i) append(keys_[i], counts_[i]);
    append(key, 1);
  }
  for (; i < keys_.size(); ++i) append(keys_[i], counts_[i]);
  waiting_.clear();
  keys_ = std::move(keys);
  counts_ = std::move(counts);
  check(keys_.size() <= most_cells_, "analyze/counts", "expected at most ", most_cells_,
        " different pairs in the table of ", what_,
        ", found more: it would not fit into memory. Look at fewer tokens (--batches).");
}

CountTable CountTableBuilder::finish() && {
  CountTable out;
  out.rows_ = rows_;
  out.columns_ = columns_;
  for (size_t key = 0; key < whole_.size(); ++key)
    if (whole_[key] > 0) {
      keys_.push_back(key);
      counts_.push_back(whole_[key]);
    }
  merge();  // also refuses a whole table with too many cells
  out.keys_ = std::move(keys_);
  out.counts_ = std::move(counts_);
  return out;
}

}  // namespace moe::analyze
