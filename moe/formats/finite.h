#pragma once
// No shape letters: tensors of any shape pass through.

#include <ATen/core/Tensor.h>

namespace moe::formats {

/// How many numbers of a floating tensor on the CPU are NaN or infinite, by their bits; 0 for types
/// that hold none (whole numbers). Nothing is copied where the tensor is dense, transposed or not.
int64_t count_not_finite(const at::Tensor& values);

}  // namespace moe::formats
