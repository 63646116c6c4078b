// Newton-Schulz against its definition and the singular value decomposition. R rows, C columns.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/ops/newton_schulz.h>

#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::test {
namespace {

/// The polynomial on every singular value, in float64.
Tensor by_singular_values(const Tensor& matrix_RC, int64_t steps) {
  auto [u, s, v] = at::linalg_svd(matrix_RC.to(at::kDouble), /*full_matrices=*/false);
  s = s / s.square().sum().sqrt();
  for (int64_t i = 0; i < steps; ++i) s = 3.4445 * s - 4.7750 * s.pow(3) + 2.0315 * s.pow(5);
  return at::matmul(u * s.unsqueeze(0), v);
}

/// (R, C) with singular values from 1 down to `least`.
Tensor matrix_with(int64_t R, int64_t C, double least, uint64_t seed) {
  const auto [u, unused_s, v] = at::linalg_svd(normal({R, C}, seed), /*full_matrices=*/false);
  const Tensor s = at::linspace(1, least, std::min(R, C), at::kDouble);
  return at::matmul(u * s.unsqueeze(0), v);
}

TEST(NewtonSchulz, IsThePolynomialOfTheSingularValues) {
  uint64_t seed = 0;
  for (const auto& [R, C] : {std::pair<int64_t, int64_t>{5, 5}, {3, 8}, {8, 3}, {1, 4}, {4, 1}})
    for (const int64_t steps : {1, 2, 5}) {
      const Tensor matrix = normal({R, C}, ++seed);
      const Tensor found = ops::newton_schulz(matrix, steps);
      EXPECT_EQ(found.scalar_type(), at::kDouble);
      EXPECT_LT((found - by_singular_values(matrix, steps)).abs().max().item<double>(), 1e-10)
          << R << 'x' << C << ' ' << steps;
    }
}

TEST(NewtonSchulz, BringsSingularValuesNearOne) {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16})
    for (const auto& [R, C] : {std::pair<int64_t, int64_t>{16, 16}, {16, 48}, {48, 16}}) {
      const Tensor matrix = matrix_with(R, C, 0.1, 7) * 1e-3;
      const auto compute = type == at::kDouble ? at::kFloat : type;
      const Tensor found =
          ops::newton_schulz(matrix.to(type == at::kDouble ? type : at::kFloat), 5, compute);
      const Tensor s = at::linalg_svdvals(found.to(at::kDouble));
      EXPECT_GE(s.min().item<double>(), type == at::kBFloat16 ? 0.66 : 0.68)
          << type << ' ' << R << 'x' << C;
      EXPECT_LE(s.max().item<double>(), type == at::kBFloat16 ? 1.2 : 1.15)
          << type << ' ' << R << 'x' << C;
    }
}

TEST(NewtonSchulz, TakesStacksOfMatricesOneByOne) {
  const Tensor stack = normal({2, 3, 6, 4}, 3);
  const Tensor found = ops::newton_schulz(stack);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 3; ++j)
      EXPECT_LT((found[i][j] - ops::newton_schulz(stack[i][j])).abs().max().item<double>(), 1e-13);
  const Tensor view = normal({6, 4}, 4).t();
  EXPECT_LT((ops::newton_schulz(view) - by_singular_values(view, 5)).abs().max().item<double>(),
            1e-10);
}

TEST(NewtonSchulz, KeepsZerosAndRefusesVectors) {
  EXPECT_TRUE(ops::newton_schulz(at::zeros({3, 4})).eq(0).all().item<bool>());
  EXPECT_EQ(ops::newton_schulz(at::zeros({0, 3, 4})).sizes(), (std::vector<int64_t>{0, 3, 4}));
  EXPECT_ERROR(ops::newton_schulz(at::zeros({3})), "expected matrices (…, R, C), got [3]");
}

}  // namespace
}  // namespace moe::test
