#pragma once
// S source rows, R rows, T tokens, N pairs, D width.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// out[r] = source_SD[index_R[r]]; (R, D). The gradient adds rows in the order of r: deterministic.
Tensor gather_rows(const Tensor& source_SD, const Tensor& index_R);

/// out[s] = sum of rows_RD[r] with index_R[r] = s, in the order of r; (S, D), the dtype of the
/// rows, deterministic. The gradient of gather_rows; itself without gradient.
Tensor scatter_add_rows(const Tensor& rows_RD, const Tensor& index_R, int64_t sources);

/// y_t = sum over pairs n of token t, in order, of weights_N[n] * rows_RD[position_N[n]]; (T, D).
///
/// offsets_T1 (T+1,) int64 says which pairs are t's; position -1 adds nothing; an undefined
/// weights_N means 1. Sums in float32 (float64 for float64) and returns that dtype. Differentiable
/// in rows and weights; deterministic for any number of threads.
Tensor combine_rows(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                    const Tensor& offsets_T1);

}  // namespace moe::ops
