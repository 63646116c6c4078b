#pragma once
// S source rows, R rows, T tokens, N pairs, D width.

#include <string_view>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// out[r] = source_SD[index_R[r]]; (R, D). The gradient adds rows in the order of r: deterministic.
Tensor gather_rows(const Tensor& source_SD, const Tensor& index_R);

/// out[s] = sum of rows_RD[r] with index_R[r] = s, in the order of r; (S, D), the dtype of the
/// rows, deterministic. The gradient of gather_rows; itself without gradient.
Tensor scatter_add_rows(const Tensor& rows_RD, const Tensor& index_R, int64_t sources);

/// How rows become tokens: y_t = sum over pairs n of token t, in order, of weights_N[n] *
/// row[position_N[n]].
struct Combination {
  /// (N,) int64: the row of each pair; -1 adds nothing.
  Tensor position_N;
  /// (N,) of a floating dtype; undefined means 1.
  Tensor weights_N;
  /// (T+1,) int64: the pairs of token t are offsets_T1[t] .. offsets_T1[t+1].
  Tensor offsets_T1;

  int64_t tokens() const { return offsets_T1.size(0) - 1; }
};

/// Throws moe::Error (naming `place`) unless the shapes fit.
void check_combination(const Combination& pairs, std::string_view place);

/// The sums of `pairs` over rows_RD; (T, D). Sums in float32 (float64 for float64) and returns that
/// dtype. Differentiable in rows and weights; deterministic for any number of threads.
Tensor combine_rows(const Tensor& rows_RD, const Combination& pairs);

}  // namespace moe::ops
