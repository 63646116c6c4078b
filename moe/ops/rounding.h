#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// The modes that `rounded` knows: "ceil", "floor" and "nearest" (halves to the even integer).
const std::vector<std::string>& rounding_modes();

/// Every number of `values` (float64) as an integer, in float64. One within 1e-9 of an integer,
/// relative to its size, is that integer: 1.1 * 100 / 10 is 11, not the 12 that "ceil" would make
/// of its rounding error. Without gradient.
Tensor rounded(const Tensor& values, const std::string& mode);

}  // namespace moe::ops
