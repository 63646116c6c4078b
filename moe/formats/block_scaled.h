#pragma once
// Weights of 8 and 4 bits with a scale for each block, as numbers. R rows, C columns, G groups.

#include <array>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::formats {

/// Rows and columns of a block that has one scale.
using BlockSize = std::array<int64_t, 2>;

/// The shape of the scales of float8 values (…, R, C): (…, ceil(R/rows), ceil(C/columns)).
std::vector<int64_t> scale_shape(at::IntArrayRef values, const BlockSize& block);

/// values (…, R, C) float8 (e4m3fn or e5m2) times the scale of their block, in `dtype` (float64,
/// float32, bfloat16 or float16; the product is rounded once). Blocks at the edges are smaller.
/// `scales` have the shape of scale_shape, or are one number for all. Throws moe::Error for others.
/// As in DeepSeek-V3 (DeepSeek-AI 2024, section 3.3).
at::Tensor widen_float8(const at::Tensor& values, const at::Tensor& scales, const BlockSize& block,
                        at::ScalarType dtype);

/// MXFP4 (OCP Microscaling Formats 1.0, as gpt-oss stores it): blocks (…, G, B) of bytes, each two
/// numbers of 4 bits (the lower half first) of e2m1, and scales (…, G) of bytes s, for 2^(s - 127);
/// 255 is not a number. Gives (…, G·2·B) in `dtype`. Throws moe::Error for other types or shapes.
at::Tensor widen_mxfp4(const at::Tensor& blocks, const at::Tensor& scales, at::ScalarType dtype);

}  // namespace moe::formats
