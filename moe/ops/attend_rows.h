#pragma once
// Attention of few queries over long memory. M queries, R rows of memory, H query heads, G
// key-value heads, P width of queries and keys, V width of values.

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

/// How scores become weights.
struct ScoreOptions {
  /// Scores are multiplied by it; 0: 1 / sqrt(P).
  double scale = 0;
  /// Scores s become softcap · tanh(s / softcap); 0: they stay.
  double softcap = 0;
  /// (H): a score of each head beside those of the keys, whose weight goes nowhere; undefined:
  /// none.
  Tensor sinks_H = {};

  double scale_of(int64_t P) const;
};

/// o = softmax(scale q k^T) v over what each query sees: q (M, H, P), key (R, G, P) and value (R,
/// G, V), all contiguous -> (M, H, V). What a query gets depends on it and on what it sees alone,
/// to the bit: not on the other queries, nor on threads. Without gradients.
Tensor attend_rows(const Tensor& q_MHP, const Tensor& key_RGP, const Tensor& value_RGV,
                   const std::vector<SeenRows>& seen_M, const ScoreOptions& scores = {});

}  // namespace moe::ops
