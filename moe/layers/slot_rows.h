#pragma once
// Which row of a block of memory each sequence of a running batch has. R rows, C positions.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::layers {

using at::Tensor;

/// Slots point to rows, so that a sequence leaves without a copy and another takes its place.
class SlotRows {
 public:
  /// Rows for `count` new slots behind those there are; `rows` of memory may grow, by more than is
  /// needed, so that sequences that join one by one do not copy it each time.
  void join(int64_t count);
  /// Keeps these slots, in this order.
  void keep(const std::vector<int64_t>& slots);

  int64_t slots() const { return static_cast<int64_t>(rows_.size()); }
  /// Rows that memory must have.
  int64_t rows() const { return total_; }
  int64_t row(int64_t n) const { return rows_[static_cast<size_t>(n)]; }
  /// Positions that slot n has seen.
  int64_t length(int64_t n) const { return lengths_[static_cast<size_t>(n)]; }
  int64_t longest() const;
  /// Slot n has seen `count` positions more.
  void lengthen(int64_t n, int64_t count) { lengths_[static_cast<size_t>(n)] += count; }

 private:
  int64_t total_ = 0;
  std::vector<int64_t> rows_, lengths_;  // of each slot
  std::vector<int64_t> free_;            // rows of nobody; the last is taken first
};

/// Memory (R, C, …) with `rows` rows: itself where it has them. Of earlier ones the first `held`
/// positions are kept; what was never written costs nothing yet.
Tensor with_rows(const Tensor& memory, int64_t rows, int64_t held);

}  // namespace moe::layers
