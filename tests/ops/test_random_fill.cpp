// Counter-based numbers in tensors. R rows, F width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/random_fill.h>

namespace moe::ops::random_fill_test {

namespace {

using moe::test::expect_identical;
using moe::test::WithThreads;

const RandomStream kStream({.seed = 3}, Purpose::kTest);

double average(const Tensor& values) {
  return values.to(at::kDouble).mean().item<double>();
}
double deviation(const Tensor& values) {
  return values.to(at::kDouble).std().item<double>();
}

TEST(RandomFill, NumbersAreThoseOfTheStream) {
  Tensor values = at::empty({3, 4}, at::kDouble);
  fill_normal_(values, kStream, 0.5, 7);
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(values.flatten()[i].item<double>(),
              0.5 * kStream.normal(static_cast<uint64_t>(7 + i)));
}

TEST(RandomFill, APartFilledFromItsFirstNumberEqualsTheSlice) {
  for (const auto fill : {fill_normal_, fill_truncated_normal_}) {
    Tensor whole = at::empty({10, 3}), part = at::empty({4, 3});
    fill(whole, kStream, 1.5, 0);
    fill(part, kStream, 1.5, 9);
    expect_identical(part, whole.slice(0, 3, 7));
  }
}

TEST(RandomFill, ThreadsChangeNothing) {
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    found.push_back(at::empty({50000}));
    fill_truncated_normal_(found.back(), kStream, 1);
  }
  expect_identical(found[1], found[0]);
  expect_identical(found[2], found[0]);
}

TEST(RandomFill, HasTheMomentsItSays) {
  Tensor values = at::empty({40000});
  fill_normal_(values, kStream, 2);
  EXPECT_NEAR(average(values), 0, 0.04);
  EXPECT_NEAR(deviation(values), 2, 0.03);
  fill_truncated_normal_(values, kStream, 2);
  EXPECT_LE(values.abs().max().item<double>(), 4);
  EXPECT_NEAR(average(values), 0, 0.04);
  EXPECT_NEAR(deviation(values), 2 * 0.87962566, 0.03);  // of a normal cut at 2
  fill_uniform_(values, kStream, -1, 3);
  EXPECT_GE(values.min().item<double>(), -1);
  EXPECT_LT(values.max().item<double>(), 3);
  EXPECT_NEAR(average(values), 1, 0.03);
  EXPECT_NEAR(deviation(values), 4 / std::sqrt(12), 0.02);
}

TEST(RandomFill, FillsViewsEmptyTensorsAndNarrowTypes) {
  Tensor plain = at::empty({4, 3}), storage = at::zeros({3, 4}), none = at::empty({0, 5});
  fill_normal_(plain, kStream, 1);
  fill_normal_(storage.t(), kStream, 1);
  expect_identical(storage.t().contiguous(), plain);
  fill_normal_(none, kStream, 1);
  Tensor narrow = at::empty({4, 3}, at::kBFloat16);
  fill_normal_(narrow, kStream, 1);
  expect_identical(narrow, plain.to(at::kBFloat16));
}

TEST(RandomFill, FillsParametersThatNeedGradients) {
  Tensor parameter = at::zeros({4}).set_requires_grad(true);
  fill_uniform_(parameter, kStream, 1, 2);
  EXPECT_TRUE(parameter.is_leaf());
  EXPECT_TRUE(parameter.ge(1).all().item<bool>());
}

TEST(DropoutMask, KeepsItsShareAndScalesTheRest) {
  const Tensor row_R = at::arange(500, at::kLong);
  for (const double p : {0.1, 0.5, 0.9}) {
    const Tensor mask_RF = dropout_mask(row_R, 101, p, kStream, at::kDouble);
    const Tensor zero_RF = mask_RF.eq(0);
    EXPECT_NEAR(zero_RF.to(at::kDouble).mean().item<double>(), p, 0.01);
    EXPECT_TRUE(zero_RF.logical_or(mask_RF.eq(1 / (1 - p))).all().item<bool>());
  }
  expect_identical(dropout_mask(row_R, 7, 0, kStream, at::kFloat), at::ones({500, 7}));
}

TEST(DropoutMask, DependsOnTheRowsNumberAndNotItsPlace) {
  const Tensor row_R = at::tensor({5, 900, 17, 5, 0}, at::kLong);
  const Tensor all_RF = dropout_mask(at::arange(1000, at::kLong), 13, 0.4, kStream, at::kFloat);
  expect_identical(dropout_mask(row_R, 13, 0.4, kStream, at::kFloat),
                   all_RF.index_select(0, row_R));
}

TEST(DropoutMask, RowsAndStreamsDiffer) {
  const Tensor row_R = at::arange(2, at::kLong);
  const Tensor mask_RF = dropout_mask(row_R, 64, 0.5, kStream, at::kFloat);
  EXPECT_FALSE(mask_RF[0].equal(mask_RF[1]));
  const RandomStream next({.seed = 3, .step = 1}, Purpose::kTest);
  EXPECT_FALSE(mask_RF.equal(dropout_mask(row_R, 64, 0.5, next, at::kFloat)));
}

TEST(DropoutMask, ThreadsChangeNothing) {
  const Tensor row_R = at::arange(4000, at::kLong);
  std::vector<Tensor> found;
  for (const int threads : {1, 2}) {
    const WithThreads with(threads);
    found.push_back(dropout_mask(row_R, 30, 0.3, kStream, at::kFloat));
  }
  expect_identical(found[1], found[0]);
}

TEST(DropoutMask, TakesNoRowsAndRefusesBadProbabilities) {
  EXPECT_EQ(dropout_mask(at::zeros({0}, at::kLong), 3, 0.5, kStream, at::kFloat).sizes(),
            (std::vector<int64_t>{0, 3}));
  EXPECT_ERROR(dropout_mask(at::zeros({1}, at::kLong), 3, 1, kStream, at::kFloat), "got 1");
  EXPECT_ERROR(dropout_mask(at::zeros({1}, at::kLong), 3, -0.1, kStream, at::kFloat), "[0, 1)");
}

}  // namespace

}  // namespace moe::ops::random_fill_test
