#pragma once
// R rows, F width.

#include <ATen/core/Tensor.h>

#include <moe/base/random.h>

namespace moe::ops {

using at::Tensor;

/// values[i] = std * normal(first + i), in row-major order; in place.
void fill_normal_(Tensor values, const RandomStream& stream, double std, uint64_t first = 0);
/// As fill_normal_, with draws outside ±2 standard deviations drawn again (Switch).
void fill_truncated_normal_(Tensor values, const RandomStream& stream, double std,
                            uint64_t first = 0);
/// values[i] uniform in [low, high).
void fill_uniform_(Tensor values, const RandomStream& stream, double low, double high,
                   uint64_t first = 0);
/// (R, width) multipliers of dropout: 0 with probability p, else 1 / (1 - p). Row r uses the
/// numbers of row_R[r] (e.g. the global token number), so that they do not depend on order, ranks
/// or threads.
Tensor dropout_mask(const Tensor& row_R, int64_t width, double p, const RandomStream& stream,
                    at::ScalarType dtype);

}  // namespace moe::ops
