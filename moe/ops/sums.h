#pragma once
// Sums whose bits are the same for any number of threads. R rows, C columns.
//
// libtorch cuts a sum of 32768 elements or more among its threads, so that their number decides in
// which order it adds.

#include <vector>

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

/// Elements [begin, end) of a tensor's memory.
struct Range {
  int64_t begin, end;
};

/// Sums over ranges group numbers as sums over all do where ranges begin and end at multiples of
/// this (or with the tensor).
inline constexpr int64_t kRangeStep = 256;

/// () float64 on the CPU: the sum of the squares of a floating tensor of any shape, or of
/// contiguous values those in `ranges`, which rise and begin and end at multiples of kRangeStep:
/// the bits are those of the whole sum where all else is zero. Squares of float32 and smaller
/// types are float32. Without gradient. NaN or infinite when an element is.
Tensor sum_of_squares(const Tensor& values);
Tensor sum_of_squares(const Tensor& values, const std::vector<Range>& ranges);

}  // namespace moe::ops
