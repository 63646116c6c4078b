// C positions held, Q new tokens, G key-value heads, P head width.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/layers/key_value_state.h>

namespace moe::layers {

KeyValueState::KeyValueState(int64_t kv_heads, int64_t head_dim, int64_t window,
                             const StateShape& shape)
    : capacity_(shape.capacity), window_(window > 0 ? window : shape.capacity) {
  check(capacity_ > 0, "layers/attention", "expected a state of at least 1 position, got ",
        capacity_, ". Make it as long as the longest text.");
  key_ = at::empty({0, held(capacity_, window), kv_heads, head_dim}, shape.tensors);
  value_ = at::empty_like(key_);
}

int64_t KeyValueState::held(int64_t positions, int64_t window) {
  return window > 0 ? std::min(positions, window + kFewTokens - 1) : positions;
}

void KeyValueState::grow(int64_t rows) {
  const int64_t before = key_.size(0);
  if (rows <= before) return;
  rows = std::max(rows,
                  before + before / 2);  // sequences that join one by one must not copy each time
  // Memory that was never written costs nothing yet: only what is held is copied.
  const int64_t longest =
      lengths_.empty() ? 0 : std::min(key_.size(1), *std::ranges::max_element(lengths_));
  for (Tensor* memory : {&key_, &value_}) {
    auto sizes = memory->sizes().vec();
    sizes[0] = rows;
    const Tensor larger = at::empty(sizes, memory->options());
    larger.narrow(0, 0, before).narrow(1, 0, longest).copy_(memory->narrow(1, 0, longest));
    *memory = larger;
  }
  for (int64_t row = rows; row > before; --row) free_.push_back(row - 1);
}

void KeyValueState::join(int64_t count) {
  const auto missing = count - static_cast<int64_t>(free_.size());
  grow(key_.size(0) + std::max<int64_t>(0, missing));
  for (int64_t i = 0; i < count; ++i) {
    rows_.push_back(free_.back());
    lengths_.push_back(0);
    free_.pop_back();
  }
}

void KeyValueState::keep(const std::vector<int64_t>& slots) {
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

int64_t KeyValueState::bytes() const {
  return static_cast<int64_t>(key_.nbytes() + value_.nbytes());
}

Tensor KeyValueState::row(const Tensor& memory, int64_t n) const {
  return memory.select(0, rows_[static_cast<size_t>(n)]);
}

std::pair<Tensor, Tensor> KeyValueState::with_new(int64_t n, const Tensor& key_QGP,
                                                  const Tensor& value_QGP) const {
  // The first new token looks window - 1 positions back.
  const int64_t earlier = std::min(length(n), window_ - 1);
  const int64_t C = key_.size(1), first = (length(n) - earlier) % C;
  const int64_t straight = std::min(earlier, C - first);
  const auto joined = [&](const Tensor& memory, const Tensor& new_QGP) {
    const Tensor row_CGP = row(memory, n);
    const auto type = new_QGP.scalar_type();
    return at::cat({row_CGP.narrow(0, first, straight).to(type),
                    row_CGP.narrow(0, 0, earlier - straight).to(type), new_QGP});
  };
  return {joined(key_, key_QGP), joined(value_, value_QGP)};
}

void KeyValueState::extend(int64_t n, int64_t begin, int64_t count, NewRows& rows) {
  const int64_t C = key_.size(1), total = length(n) + count;
  check(total <= capacity_, "layers/attention", "expected at most ", capacity_,
        " positions of one sequence, got ", total,
        ". Make a state of larger capacity, or the text shorter.");
  for (int64_t i = std::max<int64_t>(0, count - C); i < count; ++i) {
    rows.tokens.push_back(begin + i);
    rows.rows.push_back(rows_[static_cast<size_t>(n)] * C + (length(n) + i) % C);
  }
  lengths_[static_cast<size_t>(n)] = total;
}

void KeyValueState::write(const NewRows& rows, const Tensor& key_TGP, const Tensor& value_TGP) {
  if (rows.rows.empty()) return;
  const at::Device device = key_.device();
  const Tensor row_M = at::tensor(rows.rows, at::kLong).to(device);
  const bool all = static_cast<int64_t>(rows.tokens.size()) == key_TGP.size(0);
  const Tensor token_M = all ? Tensor() : at::tensor(rows.tokens, at::kLong).to(device);
  for (const auto& [memory, new_TGP] : {std::pair(key_, key_TGP), std::pair(value_, value_TGP)}) {
    const Tensor new_MGP = all ? new_TGP : new_TGP.index_select(0, token_M);
    memory.flatten(0, 1).index_copy_(0, row_M, new_MGP.to(memory.scalar_type()));
  }
}

ops::SeenRows KeyValueState::seen(int64_t n, int64_t position) const {
  const int64_t C = key_.size(1), count = std::min(position + 1, window_);
  return {.base = rows_[static_cast<size_t>(n)] * C,
          .size = C,
          .first = (position + 1 - count) % C,
          .count = count};
}

}  // namespace moe::layers
