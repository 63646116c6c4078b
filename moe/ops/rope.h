#pragma once
// B batch, S sequence, H heads, P head width.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// Rotary position embedding (Su et al. 2021, the halves form of Llama): with angle a = (first + s)
/// theta^(-2i/P), out[i] = x[i] cos a - x[i + P/2] sin a and out[i + P/2] = x[i + P/2] cos a + x[i]
/// sin a. x_BSHP of even head width P; positions count from `first` in every sequence. The gradient
/// is the inverse rotation.
Tensor rope(const Tensor& x_BSHP, int64_t first, double theta);

/// The same at positions of one's own, position_BS int64 in [0, S): documents that share a row.
/// Throws moe::Error for others.
Tensor rope(const Tensor& x_BSHP, const Tensor& position_BS, double theta);

}  // namespace moe::ops
