#pragma once
// I inputs, O outputs.

#include <moe/ops/linear.h>

namespace moe::layers {

using at::Tensor;

/// x w_OI^T + b_O in the given dtype: parameters stay what they are, the product runs in `type`.
inline Tensor linear(const Tensor& x, const Tensor& w_OI, const Tensor& b_O, at::ScalarType type) {
  return ops::linear(x.to(type), w_OI.to(type), b_O.defined() ? b_O.to(type) : b_O);
}

}  // namespace moe::layers
