// R rows, C columns.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/zeros.h>

#include <moe/ops/sums.h>

namespace moe::ops::sums_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

const std::vector<std::pair<int64_t, int64_t>> kShapes = {{0, 3},    {1, 1},    {5, 0},
                                                          {63, 300}, {1000, 7}, {20001, 4}};

TEST(Sums, EqualLibtorchsInEveryType) {
  for (const auto& [R, C] : kShapes)
    for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      const Tensor values_RC = normal({R, C}, 1).to(dtype);
      expect_close(column_sums(values_RC), values_RC.to(at::kDouble).sum(0), 1e-10);
      expect_close(sum_of_all(values_RC), values_RC.to(at::kDouble).sum(), 1e-10);
      expect_close(column_sums(values_RC.t()), values_RC.to(at::kDouble).sum(1), 1e-10);
    }
  EXPECT_EQ(sum_of_all(normal({3, 4, 5}, 2)).dim(), 0);
}

TEST(Sums, ThreadsChangeNoBit) {
  for (const auto& [R, C] : kShapes) {
    const Tensor values_RC = normal({R, C}, 3).to(at::kFloat);
    const WithThreads one(1);
    const Tensor columns_C = column_sums(values_RC), all = sum_of_all(values_RC);
    for (const int threads : {2, 3, 4}) {
      const WithThreads more(threads);
      expect_identical(column_sums(values_RC), columns_C);
      expect_identical(sum_of_all(values_RC), all);
    }
  }
}

TEST(Sums, HaveTheGradientsOfSums) {
  expect_gradients([](const auto& in) { return column_sums(in[0].square()); }, {normal({9, 4}, 4)});
  expect_gradients([](const auto& in) { return sum_of_all(in[0].square()); }, {normal({33, 5}, 5)});
}

TEST(Sums, RefuseOtherShapesAndTypes) {
  EXPECT_ERROR(column_sums(normal({2, 3, 4}, 1)), "expected floating values (R, C)");
  EXPECT_ERROR(column_sums(at::zeros({2, 3}, at::kLong)), "expected floating values (R, C)");
}

TEST(Scaled, IsAProductWhoseFactorHasTheSameGradientForAnyThreads) {
  const Tensor values = normal({700, 90}, 1), factor = normal({1}, 2);
  expect_gradients([](const auto& in) { return scaled(in[0], in[1]); },
                   {normal({3, 4}, 1), factor});
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3, 4}) {
    const WithThreads these(threads);
    Tensor narrow = factor.detach().to(at::kFloat).requires_grad_(true);
    const Tensor y = scaled(values.to(at::kFloat), narrow);
    expect_identical(y.detach(), values.to(at::kFloat) * factor.detach().to(at::kFloat));
    y.backward(normal(values.sizes(), 3).to(at::kFloat));
    found.push_back(narrow.grad());
    expect_identical(found.back(), found.front());
  }
  EXPECT_ERROR(scaled(values, normal({2}, 2)), "expected one number of type Double");
}

TEST(Sums, NanReachesItsColumnAlone) {
  Tensor values_RC = normal({100, 3}, 6);
  values_RC[50][1] = NAN;
  const Tensor sums_C = column_sums(values_RC);
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(std::isnan(sums_C[c].item<double>()), c == 1);
  EXPECT_TRUE(std::isnan(sum_of_all(values_RC).item<double>()));
}

TEST(SumOfSquares, EqualsLibtorchsInEveryTypeAndShape) {
  for (const int64_t n : {0, 1, 15, 257, 16384, 70001})
    for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      const Tensor values = normal({n}, 1).to(dtype);
      const Tensor expected = values.to(at::kDouble).square().sum();
      expect_close(sum_of_squares(values), expected, dtype == at::kDouble ? 1e-13 : 1e-7);
    }
  const Tensor values = normal({9, 5, 7}, 2);
  expect_close(sum_of_squares(values.transpose(0, 2)), values.square().sum(), 1e-13);
  EXPECT_EQ(sum_of_squares(values).scalar_type(), at::kDouble);
  EXPECT_ERROR(sum_of_squares(at::zeros({3}, at::kLong)), "expected floating values");
}

TEST(SumOfSquares, IsNotFiniteWhenAnElementIsNot) {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    Tensor values = normal({5000}, 3).to(at::kFloat);
    values[4999] = bad;
    EXPECT_FALSE(std::isfinite(sum_of_squares(values).item<double>()));
  }
}

}  // namespace

}  // namespace moe::ops::sums_test
