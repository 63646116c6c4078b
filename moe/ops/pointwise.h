#pragma once
// Functions of each number for itself.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// x / (1 + e^-x), 1 / (1 + e^-x), ln(1 + e^x) and tanh x of every number of x, in float32 or
/// float64; the result has x's shape and type, and one derivative. On the CPU the bits of a result
/// depend on its number alone, not on where it stands in memory (libtorch's loops take the last
/// numbers of a range another way).
Tensor silu(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor softplus(const Tensor& x);
Tensor tanh(const Tensor& x);

}  // namespace moe::ops
