// R rows, C positions.
#include <algorithm>

#include <ATen/ops/empty.h>

#include <moe/layers/slot_rows.h>

namespace moe::layers {

void SlotRows::join(int64_t count) {
  const int64_t missing = count - static_cast<int64_t>(free_.size());
  if (missing > 0) {
    const int64_t grown = total_ + std::max(missing, total_ / 2);
    for (int64_t row = grown; row > total_; --row) free_.push_back(row - 1);
    total_ = grown;
  }
  for (int64_t i = 0; i < count; ++i) {
    rows_.push_back(free_.back());
    lengths_.push_back(0);
    free_.pop_back();
  }
}

void SlotRows::keep(const std::vector<int64_t>& slots) {
  std::vector<int64_t> rows, lengths, left = rows_;
  for (const int64_t slot : slots) {
    const int64_t row = rows_.at(static_cast<size_t>(slot));
    rows.push_back(row);
    lengths.push_back(length(slot));
    std::erase(left, row);
  }
  free_.insert(free_.end(), left.begin(), left.end());
  rows_ = std::move(rows);
  lengths_ = std::move(lengths);
}

int64_t SlotRows::longest() const {
  return lengths_.empty() ? 0 : *std::ranges::max_element(lengths_);
}

Tensor with_rows(const Tensor& memory, int64_t rows, int64_t held) {
  const int64_t before = memory.size(0);
  if (rows == before) return memory;
  auto sizes = memory.sizes().vec();
  sizes[0] = rows;
  const Tensor larger = at::empty(sizes, memory.options());
  larger.narrow(0, 0, before).narrow(1, 0, held).copy_(memory.narrow(1, 0, held));
  return larger;
}

}  // namespace moe::layers
