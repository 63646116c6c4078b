#pragma once
// T rows, D width.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// y_t = x_t / sqrt(mean_d x_td^2 + epsilon) * scale_D (RMSNorm, Zhang and Sennrich 2019), for x of
/// any leading shape. Computes in float32 (float64 for float64) and returns that dtype. The
/// gradient of the scale adds rows in a fixed order, whatever the number of threads.
Tensor rms_norm(const Tensor& x, const Tensor& scale_D, double epsilon);

}  // namespace moe::ops
