// LayerNorm with a scale and shift of each expert. R rows, E experts, F width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/grouped.h>

namespace moe::ops::grouped_norm_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t kRows = 7, kExperts = 3, kWidth = 5;
constexpr double kEpsilon = 1e-3;

Tensor ids(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

/// Loads with an empty expert, with rows of nobody, with one expert that takes all, with none.
std::vector<Tensor> loads() {
  return {ids({0, 3, 3, 6}), ids({0, 2, 4, 7}), ids({0, 0, 7, 7}), ids({0, 0, 0, 0})};
}

Tensor naive(const Tensor& rows_RF, const Tensor& offsets_E, const Tensor& scale_EF,
             const Tensor& shift_EF) {
  Tensor out_RF = at::zeros(rows_RF.sizes(), at::kDouble);
  for (int64_t e = 0; e < kExperts; ++e)
    for (int64_t r = offsets_E[e].item<int64_t>(); r < offsets_E[e + 1].item<int64_t>(); ++r) {
      double mean = 0, variance = 0;
      for (int64_t f = 0; f < kWidth; ++f) mean += rows_RF[r][f].item<double>() / kWidth;
      for (int64_t f = 0; f < kWidth; ++f)
        variance += std::pow(rows_RF[r][f].item<double>() - mean, 2) / kWidth;
      for (int64_t f = 0; f < kWidth; ++f)
        out_RF[r][f] = (rows_RF[r][f].item<double>() - mean) / std::sqrt(variance + kEpsilon) *
                           scale_EF[e][f].item<double>() +
                       shift_EF[e][f].item<double>();
    }
  return out_RF;
}

TEST(GroupedLayerNorm, EqualsALoopOverRows) {
  const Tensor rows_RF = normal({kRows, kWidth}, 1), scale_EF = normal({kExperts, kWidth}, 2),
               shift_EF = normal({kExperts, kWidth}, 3);
  for (const Tensor& offsets_E : loads()) {
    const int64_t held = offsets_E[-1].item<int64_t>();
    const Tensor expected_RF = naive(rows_RF, offsets_E, scale_EF, shift_EF).slice(0, 0, held);
    const auto run = [&](at::ScalarType type) {
      return grouped_layer_norm(rows_RF.to(type), offsets_E, scale_EF.to(type), shift_EF.to(type),
                                kEpsilon)
          .slice(0, 0, held);
    };
    expect_close(run(at::kDouble), expected_RF, 1e-13);
    expect_close(run(at::kFloat), expected_RF, 1e-5);
    EXPECT_EQ(run(at::kBFloat16).scalar_type(), at::kBFloat16);
    expect_close(run(at::kBFloat16), expected_RF, 0.1);
  }
}

TEST(GroupedLayerNorm, GradientsEqualCentralDifferences) {
  for (const Tensor& offsets_E : loads())
    expect_gradients(
        [&](const auto& in) {
          return grouped_layer_norm(in[0], offsets_E, in[1], in[2], kEpsilon)
              .slice(0, 0, offsets_E[-1].template item<int64_t>());
        },
        {normal({kRows, kWidth}, 1), normal({kExperts, kWidth}, 2), normal({kExperts, kWidth}, 3)});
}

TEST(GroupedLayerNorm, NothingFlowsIntoRowsOfNobody) {
  Tensor rows_RF = normal({kRows, kWidth}, 1);
  rows_RF[6].fill_(NAN);
  rows_RF.set_requires_grad(true);
  Tensor scale_EF = normal({kExperts, kWidth}, 2).set_requires_grad(true);
  const Tensor offsets_E = ids({0, 3, 3, 6}), shift_EF = normal({kExperts, kWidth}, 3);
  grouped_layer_norm(rows_RF, offsets_E, scale_EF, shift_EF, kEpsilon)
      .slice(0, 0, 6)
      .square()
      .sum()
      .backward();
  EXPECT_TRUE(rows_RF.grad().isfinite().all().item<bool>());
  EXPECT_TRUE(rows_RF.grad()[6].eq(0).all().item<bool>());
  EXPECT_TRUE(scale_EF.grad().isfinite().all().item<bool>());
}

TEST(GroupedLayerNorm, ANaNStaysInItsRow) {
  Tensor rows_RF = normal({kRows, kWidth}, 1);
  const Tensor scale_EF = normal({kExperts, kWidth}, 2), shift_EF = normal({kExperts, kWidth}, 3);
  const Tensor clean_RF = grouped_layer_norm(rows_RF, ids({0, 2, 4, 7}), scale_EF, shift_EF, 1e-5);
  rows_RF[3][1] = NAN;
  const Tensor out_RF = grouped_layer_norm(rows_RF, ids({0, 2, 4, 7}), scale_EF, shift_EF, 1e-5);
  for (int64_t r = 0; r < kRows; ++r) {
    if (r == 3)
      EXPECT_TRUE(out_RF[r].isnan().all().item<bool>());
    else
      expect_identical(out_RF[r], clean_RF[r]);
  }
}

TEST(GroupedLayerNorm, GivesTheSameBitsOnAnyNumberOfThreads) {
  std::vector<Tensor> gradients;
  for (const int threads : {1, 2}) {
    const moe::test::WithThreads with(threads);
    Tensor rows_RF = normal({3000, 64}, 1).to(at::kFloat).set_requires_grad(true);
    Tensor scale_EF = normal({2, 64}, 2).to(at::kFloat).set_requires_grad(true);
    grouped_layer_norm(rows_RF, ids({0, 1000, 3000}), scale_EF, at::zeros({2, 64}, at::kFloat),
                       1e-5)
        .square()
        .sum()
        .backward();
    gradients.push_back(rows_RF.grad());
    gradients.push_back(scale_EF.grad());
  }
  expect_identical(gradients[2], gradients[0]);
  expect_identical(gradients[3], gradients[1]);
}

TEST(GroupedLayerNorm, RefusesShapesThatDoNotFit) {
  const Tensor rows_RF = normal({4, 5}, 1), scale_EF = normal({2, 5}, 2);
  EXPECT_ERROR(grouped_layer_norm(rows_RF, ids({0, 2, 3, 4}), scale_EF, scale_EF, 1e-5),
               "scale and shift (E, F)");
  EXPECT_ERROR(grouped_layer_norm(rows_RF.slice(1, 1), ids({0, 2, 4}), scale_EF, scale_EF, 1e-5),
               "scale and shift (E, F)");
}

}  // namespace

}  // namespace moe::ops::grouped_norm_test
