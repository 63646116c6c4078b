#pragma once
// Attention of few queries over long memory. M queries, R rows of memory, H query heads, G
// key-value heads, P head width.

#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// What one query sees: `count` rows of a ring of `size` rows that begins at row `base` of the
/// memory, from its row `first` on.
struct SeenRows {
  int64_t base = 0, size = 0, first = 0, count = 0;
};

/// Whether `attend_rows` takes such queries and such a memory: float32 on the CPU, with the CPU's
/// own loops in use.
bool can_attend_rows(const Tensor& queries, const Tensor& memory);

/// o = softmax(q k^T / sqrt(P)) v over what each query sees: q (M, H, P), key and value (R, G, P),
/// all contiguous -> (M, H, P). What a query gets depends on it and on what it sees alone, to the
/// bit: not on the other queries, nor on threads. Without gradients.
Tensor attend_rows(const Tensor& q_MHP, const Tensor& key_RGP, const Tensor& value_RGP,
                   const std::vector<SeenRows>& seen_M);

}  // namespace moe::ops
