#pragma once
// The CPU loops of ops/rows.h: contiguous inputs, y and weights of one floating type (float32 or
// float64), rows of that type or narrower. R rows, T tokens, N pairs, D width.

#include <ATen/core/Tensor.h>

namespace moe::ops::cpu {

using at::Tensor;

void combine_rows(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                  const Tensor& offsets_T1, Tensor& y_TD);
/// Each row belongs to at most one pair; those of drows_RD that belong to none are left alone.
/// dweights_N is undefined when weights_N is.
void combine_rows_backward(const Tensor& dy_TD, const Tensor& rows_RD, const Tensor& position_N,
                           const Tensor& weights_N, const Tensor& offsets_T1, Tensor& drows_RD,
                           Tensor& dweights_N);

}  // namespace moe::ops::cpu
