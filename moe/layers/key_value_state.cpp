// C positions held, Q new tokens, G key-value heads, P width of keys, V width of
// values.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/layers/key_value_state.h>

namespace moe::layers {

int64_t Reach::behind(int64_t position) const {
  if (chunk > 0) return position % chunk;
  return window > 0 ? std::min(position, window - 1) : position;
}

int64_t Reach::most(int64_t positions) const {
  return limit() > 0 ? std::min(positions, limit()) : positions;
}

KeyValueState::KeyValueState(int64_t kv_heads, int64_t key_width, int64_t value_width,
                             const Reach& reach, const StateShape& shape)
    : capacity_(shape.capacity), reach_(reach) {
  check(capacity_ > 0, "layers/attention", "expected a state of at least 1 position, got ",
        capacity_, ". Make it as long as the longest text.");
  const int64_t C = held(capacity_, reach);
  key_ = at::empty({0, C, kv_heads, key_width}, shape.tensors);
  value_ = at::empty({0, C, kv_heads, value_width}, shape.tensors);
}

int64_t KeyValueState::held(int64_t positions, const Reach& reach) {
  return reach.limit() > 0 ? std::min(positions, reach.limit() + kFewTokens - 1) : positions;
}

void KeyValueState::join(int64_t count) {
  const int64_t held = std::min(key_.size(1), slots_.longest());
  slots_.join(count);
  for (Tensor* memory : {&key_, &value_}) *memory = with_rows(*memory, slots_.rows(), held);
}

int64_t KeyValueState::bytes() const {
  return static_cast<int64_t>(key_.nbytes() + value_.nbytes());
}

Tensor KeyValueState::row(const Tensor& memory, int64_t n) const {
  return memory.select(0, slots_.row(n));
}

std::pair<Tensor, Tensor> KeyValueState::with_new(int64_t n, const Tensor& key_QGP,
                                                  const Tensor& value_QGV) const {
  const int64_t earlier = reach_.behind(length(n));
  const int64_t C = key_.size(1), first = (length(n) - earlier) % C;
  const int64_t straight = std::min(earlier, C - first);
  const auto joined = [&](const Tensor& memory, const Tensor& new_QGP) {
    const Tensor row_CGP = row(memory, n);
    const auto type = new_QGP.scalar_type();
    return at::cat({row_CGP.narrow(0, first, straight).to(type),
                    row_CGP.narrow(0, 0, earlier - straight).to(type), new_QGP});
  };
  return {joined(key_, key_QGP), joined(value_, value_QGV)};
}

void KeyValueState::extend(int64_t n, int64_t begin, int64_t count, NewRows& rows) {
  const int64_t C = key_.size(1), total = length(n) + count;
  check(total <= capacity_, "layers/attention", "expected at most ", capacity_,
        " positions of one sequence, got ", total,
        ". Make a state of larger capacity, or the text shorter.");
  for (int64_t i = std::max<int64_t>(0, count - C); i < count; ++i) {
    rows.tokens.push_back(begin + i);
    rows.rows.push_back(slots_.row(n) * C + (length(n) + i) % C);
  }
  slots_.lengthen(n, count);
}

void KeyValueState::write(const NewRows& rows, const Tensor& key_TGP, const Tensor& value_TGV) {
  if (rows.rows.empty()) return;
  const at::Device device = key_.device();
  const Tensor row_M = at::tensor(rows.rows, at::kLong).to(device);
  const bool all = static_cast<int64_t>(rows.tokens.size()) == key_TGP.size(0);
  const Tensor token_M = all ? Tensor() : at::tensor(rows.tokens, at::kLong).to(device);
  for (const auto& [memory, new_TGP] : {std::pair(key_, key_TGP), std::pair(value_, value_TGV)}) {
    const Tensor new_MGP = all ? new_TGP : new_TGP.index_select(0, token_M);
    memory.flatten(0, 1).index_copy_(0, row_M, new_MGP.to(memory.scalar_type()));
  }
}

ops::SeenRows KeyValueState::seen(int64_t n, int64_t position) const {
  const int64_t C = key_.size(1), count = reach_.behind(position) + 1;
  return {
      .base = slots_.row(n) * C, .size = C, .first = (position + 1 - count) % C, .count = count};
}

}  // namespace moe::layers
