// R rows, C columns, M matrices.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty_like.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/libtorch_products.h>
#include <moe/ops/newton_schulz.h>

namespace moe::ops {

namespace {

constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
/// Keeps matrices of zeros from becoming NaN.
constexpr double kLeastNorm = 1e-7;

/// Numbers of the matrices that are worked on together.
constexpr int64_t kAtOnce = int64_t{1} << 24;

/// In `type`, to which products that are made in another type are rounded.
Tensor iterate(const Tensor& matrices_MRC, int64_t steps, at::ScalarType type,
               at::ScalarType products) {
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  Tensor x_MRC = matrices_MRC.to(wide);
  const Tensor norm_M11 = x_MRC.square().sum({1, 2}, /*keepdim=*/true).sqrt().clamp_min(kLeastNorm);
  const auto rounded = [&](const Tensor& x) { return x.to(type).to(products); };
  x_MRC = rounded(x_MRC / norm_M11);
  const bool tall = x_MRC.size(1) > x_MRC.size(2);
  if (tall) x_MRC = x_MRC.transpose(1, 2).contiguous();
  for (int64_t i = 0; i < steps; ++i) {
    const Tensor a_MRR = rounded(at::bmm(x_MRC, x_MRC.transpose(1, 2)));
    const Tensor b_MRR = rounded(at::baddbmm(a_MRR, a_MRR, a_MRR, kB, kC));
    x_MRC = rounded(at::baddbmm(x_MRC, b_MRR, x_MRC, kA));
  }
  return tall ? x_MRC.transpose(1, 2) : x_MRC;
}

}  // namespace

Tensor newton_schulz(const Tensor& matrices, int64_t steps, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  check(matrices.dim() >= 2, "ops/newton_schulz", "expected matrices (…, R, C), got ",
        matrices.sizes(), ". Give two dimensions or more.");
  Tensor out = at::empty_like(matrices, at::MemoryFormat::Contiguous);
  if (matrices.numel() == 0) return out;
  const int64_t R = matrices.size(-2), C = matrices.size(-1);
  const auto type = matrices.scalar_type() == at::kDouble ? at::kDouble : compute;
  const auto products = matrices.is_cpu() ? cpu::type_of_libtorch_products(type) : type;
  const Tensor from_MRC = matrices.reshape({-1, R, C}), to_MRC = out.view({-1, R, C});
  const int64_t M = from_MRC.size(0), together = std::max<int64_t>(1, kAtOnce / (R * C));
  for (int64_t begin = 0; begin < M; begin += together) {
    const int64_t end = std::min(M, begin + together);
    to_MRC.slice(0, begin, end)
        .copy_(iterate(from_MRC.slice(0, begin, end), steps, type, products));
  }
  return out;
}

}  // namespace moe::ops
