#pragma once
// T tokens, M rows of a chunk, D width, V vocabulary or classes.

#include <functional>

#include <ATen/core/Tensor.h>

namespace moe::layers {

using at::Tensor;

/// What makes logits of hidden states: hidden_MD -> (M, outputs), row by row.
struct Head {
  std::function<Tensor(const Tensor& hidden_MD)> logits;
  int64_t outputs = 0;
};

struct CrossEntropyOptions {
  /// Rows with this target count nothing, and no logits are made of them.
  int64_t ignored = -100;
  /// Share of the target that is spread evenly over all outputs.
  double label_smoothing = 0;
  /// Count rows whose largest logit is the target's.
  bool count_correct = false;
  /// Logits that stand in memory at once, at most (unless one row has more).
  int64_t logits_at_once = int64_t{1} << 24;
};

struct CrossEntropy {
  /// () float64: of all rows that have a target, in nats.
  Tensor sum;
  int64_t targets = 0;
  int64_t correct = 0;
};

/// Cross entropy of head(hidden_TD) against target_T (int64), for any size of V: logits are made of
/// some rows at a time, and so are their gradients, so that nothing of T x V numbers is ever kept.
///
/// The gradients of hidden_TD, and of whatever parameters the head uses (also ones shared with an
/// embedding), are computed in the forward pass, which costs no product more than a plain loss
/// does; they are exact, add up in at least float32, and can be asked for once. Losses are taken of
/// logits in at least float32. The bits do not depend on the number of threads where the head's do
/// not. Throws moe::Error for targets outside [0, V) and for second derivatives.
CrossEntropy cross_entropy(const Head& head, const Tensor& hidden_TD, const Tensor& target_T,
                           const CrossEntropyOptions& options = {});

}  // namespace moe::layers
