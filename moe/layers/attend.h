#pragma once
// N sequences of equal shape, Q queries, C keys, H query heads, G key-value heads, P width of
// queries and keys, V width of values.

#include <ATen/core/Tensor.h>

#include <moe/base/random.h>
#include <moe/layers/relative_positions.h>
#include <moe/ops/attend_rows.h>

namespace moe::layers {

using at::Tensor;

/// What a query may see, and what is done to the weights.
struct AttendOptions {
  /// The queries are the last Q of the C positions, and see none behind their own.
  bool causal = true;
  /// A query sees the last `window` positions up to its own; 0: all of them. Causal only.
  int64_t window = 0;
  /// A query sees its own chunk of so many positions up to its own; 0: there are no chunks. Causal
  /// only; attend_sequences() cuts sequences by it, attend() takes what is cut.
  int64_t chunk = 0;
  ops::ScoreOptions scores = {};
  /// Added to the scores of each head, by how far the key is from the query.
  RelativeBias relative = {};
  /// (N,) int64: how many keys of each sequence are real, the first ones; undefined: all.
  Tensor keys_N = {};
  /// A pass of training, or its first half: gradients may follow.
  bool learns = false;
  /// Share of the weights that is zeroed, keyed by the global number of the query's token (N, Q).
  double dropout = 0;
  Tensor token_NQ = {};
  RandomKey random = {};
};

/// o = softmax(scale q k^T + bias where visible) v of each head, the heads of a group sharing keys:
/// q (N, Q, H, P), k (N, C, G, P) and v (N, C, G, V) -> (N, Q, H, V).
Tensor attend(const Tensor& q_NQHP, const Tensor& k_NCGP, const Tensor& v_NCGV,
              const AttendOptions& options);

}  // namespace moe::layers
