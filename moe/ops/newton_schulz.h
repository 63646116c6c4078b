#pragma once
// R rows, C columns.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// The nearest thing to an orthogonal matrix: U Vᵀ of each matrix U S Vᵀ among matrices (…, R, C),
/// roughly; of the type of `matrices`.
///
/// X / |X|, then `steps` times X <- a X + (b A + c A²) X with A = X Xᵀ (of the shorter side) and
/// (a, b, c) = (3.4445, -4.7750, 2.0315), in `compute`; float64 matrices stay float64. The
/// coefficients are those of Jordan et al. 2024 (Muon): they raise small singular values as fast as
/// can be, and do not converge. Five steps bring singular values above about 0.01 of the norm to
/// between 0.68 and 1.14; zero matrices stay zero.
///
/// Without gradient. Throws moe::Error for fewer than two dimensions.
Tensor newton_schulz(const Tensor& matrices, int64_t steps = 5,
                     at::ScalarType compute = at::kFloat);

}  // namespace moe::ops
