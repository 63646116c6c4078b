#pragma once
// Tables of counts, in little memory where most cells are zero. No tensors.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moe::analyze {

/// How often each (row, column) was seen. Immutable, made by CountTableBuilder: only the cells that
/// are not zero are kept, 16 bytes each, in row-major order.
class CountTable {
 public:
  struct Cell {
    int64_t row = 0, column = 0, count = 0;
  };

  CountTable() = default;

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  /// Cells that are not zero.
  size_t size() const { return keys_.size(); }
  Cell operator[](size_t i) const {
    const auto key = static_cast<int64_t>(keys_[i]);
    return {key / columns_, key % columns_, counts_[i]};
  }
  /// Sum of all counts.
  int64_t total() const;
  /// The count of one cell, by binary search.
  int64_t at(int64_t row, int64_t column) const;
  std::span<const int64_t> counts() const { return counts_; }
  std::vector<int64_t> row_sums() const;
  std::vector<int64_t> column_sums() const;

 private:
  friend class CountTableBuilder;

  int64_t rows_ = 0, columns_ = 0;
  std::vector<uint64_t> keys_;  // row * columns + column, rising
  std::vector<int64_t> counts_;
};

/// Adds up a CountTable. A table of at most 2^18 cells is kept whole while it is filled; a larger
/// one as a sorted list of the cells seen so far, so that its memory follows what was seen and not
/// rows times columns.
class CountTableBuilder {
 public:
  /// `what` names the table in messages. Throws moe::Error for a size below 1 or above 2^63 cells.
  CountTableBuilder(int64_t rows, int64_t columns, std::string what, size_t most_cells);

  /// Counts cell (row, column), which must lie in the table, once more. Throws moe::Error when more
  /// than `most_cells` different ones were seen.
  void add(int64_t row, int64_t column) {
    const auto key = static_cast<uint64_t>(row * columns_ + column);
    if (!whole_.empty())
      ++whole_[key];
    else if (waiting_.push_back(key);
             waiting_.size() >= kWaiting && waiting_.size() >= keys_.size())
      merge();
  }
  CountTable finish() &&;

 private:
  static constexpr size_t kWaiting = size_t{1} << 16;

  /// Sorts what waits into keys_ and counts_.
  void merge();

  int64_t rows_, columns_;
  std::string what_;
  size_t most_cells_;
  std::vector<int64_t> whole_;
  std::vector<uint64_t> waiting_, keys_;
  std::vector<int64_t> counts_;
};

}  // namespace moe::analyze
