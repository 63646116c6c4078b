#pragma once
// Products of few tokens with a matrix a head. M tokens, H heads, R rows of a head's matrix, I
// inputs, O outputs.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// y[m, h] = sum over i of x[m, h, i] · w[h, first + i]: (M, H, I), (H, R, O) -> (M, H, O).
///
/// Without gradients; in float32 on the CPU what a token gets does not depend on the others, nor on
/// threads, to the bit.
Tensor combine_head_rows(const Tensor& x_MHI, const Tensor& w_HRO, int64_t first);

/// y[m, h, o] = w[h, first + o] · x[m, h]: (M, H, I), (H, R, I) -> (M, H, count). As above.
Tensor multiply_head_rows(const Tensor& x_MHI, const Tensor& w_HRI, int64_t first, int64_t count);

}  // namespace moe::ops
