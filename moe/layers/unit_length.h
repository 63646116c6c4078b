#pragma once

#include <cmath>

#include <ATen/ops/full.h>

#include <moe/ops/norm.h>

namespace moe::layers {

using at::Tensor;

/// x / sqrt(sum x^2 + 1e-6) * length over the last dimension, as delta rules take queries and keys.
inline Tensor of_length(const Tensor& x, double length) {
  // An RMS norm with the sum instead of the mean of the squares.
  const auto width = static_cast<double>(x.size(-1));
  const Tensor scale = at::full({x.size(-1)}, length / std::sqrt(width), x.options());
  return ops::rms_norm(x, scale.detach(), 1e-6 / width);
}

}  // namespace moe::layers
