#pragma once
// The boundary between rows with padding and lists of tokens. B rows, S columns, T real tokens.

#include <ATen/core/Tensor.h>

#include <moe/flow/sequences.h>

namespace moe {

/// The real tokens of a batch of B rows and S columns: each row's real tokens become one sequence,
/// whatever side the padding stands on. Padding enters no model; results are put back with
/// `unpack`.
class Packing {
 public:
  /// Every position is real.
  Packing(int64_t rows, int64_t columns);
  /// Those where mask_BS (bool) is true. Throws moe::Error for a mask of another type or shape.
  explicit Packing(const Tensor& mask_BS);

  const Sequences& sequences() const { return sequences_; }
  bool is_full() const { return !place_T_.defined(); }
  /// (T,) int64: row-major place b·S + s of each token.
  Tensor place_T(at::Device device) const;

  /// x (B, S, …) or (B·S, …) -> (T, …): a view where every position is real. Differentiable.
  Tensor pack(const Tensor& x) const;
  /// y_T… (T, …) -> (B, S, …) with `fill` at padding. Differentiable.
  Tensor unpack(const Tensor& y, double fill = 0) const;

 private:
  int64_t rows_, columns_;
  Tensor place_T_;  // undefined: all
  Sequences sequences_;
};

}  // namespace moe
