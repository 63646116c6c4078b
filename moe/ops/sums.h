#pragma once
// Sums whose bits are the same for any number of threads. R rows, C columns.
//
// libtorch cuts a sum of 32768 elements or more among its threads, so that their number decides in
// which order it adds.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// (C,) float64: the sum of each column of floating values_RC. Differentiable, also twice. On other
/// devices than the CPU libtorch's own. Throws moe::Error for another shape.
Tensor column_sums(const Tensor& values_RC);

/// () float64: the sum of all elements of a floating tensor of any shape; as above.
Tensor sum_of_all(const Tensor& values);

/// values * factor, whose gradient for the single number `factor`, of the dtype of the values, is
/// such a sum.
Tensor scaled(const Tensor& values, const Tensor& factor);

/// () float64 on the CPU: the sum of the squares of a floating tensor of any shape. Squares of
/// float32 and smaller types are float32. Without gradient. NaN or infinite when an element is.
Tensor sum_of_squares(const Tensor& values);

}  // namespace moe::ops
