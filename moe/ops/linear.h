#pragma once
// I inputs, O outputs.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// x w_OI^T + b_O; x (..., I), all of one dtype, b_O may be undefined; (..., O). On the CPU in
/// float32 and bfloat16 by the kernels of grouped.h, whose bits do not depend on the number of
/// threads or of rows, and which are faster than MKL on AMD; where kernel_choice.h finds libtorch
/// faster (its tiles), in other types and on other devices by libtorch.
Tensor linear(const Tensor& x, const Tensor& w_OI, const Tensor& b_O = {});

}  // namespace moe::ops
