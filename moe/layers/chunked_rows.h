#pragma once
// N rows, M rows of a chunk, D width, V outputs.

#include <functional>

#include <moe/layers/chunked_loss.h>

namespace moe::layers {

/// What the rows of a chunk lose.
struct RowLoss {
  /// () float64.
  Tensor sum;
  /// (M, V) the gradient of the sum for the logits; undefined where none is wanted.
  Tensor gradient_MV;
};

/// logits_MV of the rows begin .. begin + M -> their loss.
using RowLosses =
    std::function<RowLoss(const Tensor& logits_MV, int64_t begin, bool wants_gradient)>;

/// () float64: the sum of a loss of head(hidden_ND) that comes row by row, or in groups of
/// `multiple` rows, which one chunk holds together. Logits are made of some rows at a time, and so
/// are their gradients, as `cross_entropy` says.
Tensor chunked_rows(const Head& head, const Tensor& hidden_ND, const RowLosses& losses,
                    int64_t logits_at_once, int64_t multiple = 1);

}  // namespace moe::layers
