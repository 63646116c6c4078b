// Moving rows. S source rows, R rows, T tokens, N pairs, D width.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/rows.h>

namespace moe::ops::rows_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

/// combine_rows, number by number, in float64.
Tensor naive_combine(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                     const Tensor& offsets_T1) {
  const Tensor wide_RD = rows_RD.to(at::kDouble).contiguous();
  Tensor y_TD = at::zeros({offsets_T1.size(0) - 1, rows_RD.size(1)}, at::kDouble);
  for (int64_t t = 0; t < y_TD.size(0); ++t)
    for (int64_t n = offsets_T1[t].item<int64_t>(); n < offsets_T1[t + 1].item<int64_t>(); ++n) {
      const int64_t r = position_N[n].item<int64_t>();
      if (r < 0) continue;
      const double weight = weights_N.defined() ? weights_N[n].item<double>() : 1;
      for (int64_t d = 0; d < rows_RD.size(1); ++d)
        y_TD.mutable_data_ptr<double>()[t * rows_RD.size(1) + d] +=
            weight * wide_RD[r][d].item<double>();
    }
  return y_TD;
}

/// Five tokens of 2, 0, 3, 1 and 2 pairs, of which two are dropped; seven rows, one of nobody.
struct Pairs {
  Tensor offsets_T1 = at::tensor({0, 2, 2, 5, 6, 8}, at::kLong);
  Tensor position_N = at::tensor({4, 0, 6, -1, 2, 1, -1, 5}, at::kLong);
  Tensor weights_N = normal({8}, 1);
};

TEST(GatherRows, EqualsIndexing) {
  const Tensor source_SD = normal({4, 3}, 1);
  const Tensor index_R = at::tensor({3, 0, 0, 2, 3, 3}, at::kLong);
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16})
    expect_identical(gather_rows(source_SD.to(dtype), index_R),
                     source_SD.to(dtype).index_select(0, index_R));
}

TEST(GatherRows, HasTheGradientOfIndexing) {
  const Tensor index_R = at::tensor({3, 0, 0, 2, 3, 3}, at::kLong);
  expect_gradients([&](const auto& in) { return gather_rows(in[0], index_R); },
                   {normal({4, 3}, 2)});
}

TEST(GatherRows, TakesEmptyInputs) {
  const Tensor none_R = at::zeros({0}, at::kLong);
  Tensor source_SD = normal({4, 3}, 2).set_requires_grad(true);
  const Tensor out_RD = gather_rows(source_SD, none_R);
  EXPECT_EQ(out_RD.sizes(), (std::vector<int64_t>{0, 3}));
  out_RD.sum().backward();
  expect_identical(source_SD.grad(), at::zeros({4, 3}, at::kDouble));
  EXPECT_EQ(gather_rows(at::zeros({0, 3}), none_R).sizes(), (std::vector<int64_t>{0, 3}));
}

TEST(GatherRows, RefusesOtherShapes) {
  EXPECT_ERROR(gather_rows(at::zeros({2, 3, 4}), at::zeros({1}, at::kLong)), "source (S, D)");
}

TEST(ScatterAddRows, AddsInTheOrderOfTheRows) {
  const Tensor index_R = at::tensor({2, 0, 2, 2, 1}, at::kLong);
  const Tensor rows_RD =
      at::tensor({1e8f, 1.0f, -1e8f, 3.0f, 5.0f}, at::kFloat).unsqueeze(1);  // order matters here
  const Tensor out_SD = scatter_add_rows(rows_RD, index_R, 4);
  expect_identical(out_SD.squeeze(1), at::tensor({1.0f, 5.0f, 3.0f, 0.0f}, at::kFloat));
  EXPECT_EQ(scatter_add_rows(rows_RD.to(at::kBFloat16), index_R, 4).scalar_type(), at::kBFloat16);
}

TEST(CombineRows, EqualsTheNaiveLoops) {
  const Pairs pairs;
  for (const Tensor& weights_N : {pairs.weights_N, Tensor()})
    for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto sums = dtype == at::kDouble ? at::kDouble : at::kFloat;
      const Tensor rows_RD = normal({7, 3}, 2).to(dtype);
      const Tensor typed_N = weights_N.defined() ? weights_N.to(sums) : weights_N;
      const Tensor y_TD = combine_rows(rows_RD, {pairs.position_N, typed_N, pairs.offsets_T1});
      EXPECT_EQ(y_TD.scalar_type(), sums);
      expect_close(y_TD, naive_combine(rows_RD, pairs.position_N, typed_N, pairs.offsets_T1),
                   dtype == at::kDouble ? 1e-15 : 1e-6);
    }
}

TEST(CombineRows, HasTheGradientsOfItsSum) {
  const Pairs pairs;
  expect_gradients(
      [&](const auto& in) {
        return combine_rows(in[0], {pairs.position_N, in[1], pairs.offsets_T1});
      },
      {normal({7, 3}, 2), pairs.weights_N.clone()});
  expect_gradients(
      [&](const auto& in) {
        return combine_rows(in[0], {pairs.position_N, {}, pairs.offsets_T1});
      },
      {normal({7, 3}, 2)});
}

TEST(CombineRows, GradientsHaveTheTypesOfTheirTensors) {
  const Pairs pairs;
  Tensor rows_RD = normal({7, 3}, 2).to(at::kBFloat16).set_requires_grad(true);
  Tensor weights_N = pairs.weights_N.to(at::kFloat).set_requires_grad(true);
  combine_rows(rows_RD, {pairs.position_N, weights_N, pairs.offsets_T1}).sum().backward();
  EXPECT_EQ(rows_RD.grad().scalar_type(), at::kBFloat16);
  EXPECT_EQ(weights_N.grad().scalar_type(), at::kFloat);
  EXPECT_EQ(weights_N.grad()[3].item<float>(), 0);          // dropped
  EXPECT_TRUE(rows_RD.grad()[3].eq(0).all().item<bool>());  // nobody's row
}

TEST(CombineRows, RowsOfNobodyMayHoldAnything) {
  const Pairs pairs;
  Tensor rows_RD = normal({7, 3}, 2);
  rows_RD[3].fill_(std::nan(""));
  EXPECT_TRUE(combine_rows(rows_RD, {pairs.position_N, pairs.weights_N, pairs.offsets_T1})
                  .isfinite()
                  .all()
                  .item<bool>());
}

TEST(CombineRows, TakesEmptyInputs) {
  const Tensor none = at::zeros({0}, at::kLong);
  Tensor rows_RD = at::zeros({0, 3}, at::kDouble).set_requires_grad(true);
  EXPECT_EQ(combine_rows(rows_RD, {none, {}, at::zeros({1}, at::kLong)}).sizes(),
            (std::vector<int64_t>{0, 3}));
  const Tensor y_TD = combine_rows(rows_RD, {none, {}, at::zeros({3}, at::kLong)});
  expect_identical(y_TD.detach(), at::zeros({2, 3}, at::kDouble));
  y_TD.sum().backward();
  EXPECT_EQ(rows_RD.grad().sizes(), rows_RD.sizes());
}

TEST(CombineRows, RefusesWeightsOfAnotherLength) {
  const Pairs pairs;
  EXPECT_ERROR(
      combine_rows(normal({7, 3}, 2), {pairs.position_N, normal({7}, 1), pairs.offsets_T1}),
      "expected weights of shape [8]");
}

TEST(Rows, ThreadsChangeNoBitOfOutputsAndGradients) {
  constexpr int64_t T = 3000, K = 3, D = 40, S = 500;
  const Tensor offsets_T1 = at::arange(T + 1, at::kLong) * K;
  const Tensor position_N = normal({T * K}, 5).argsort();
  const Tensor index_R = (normal({T * K}, 6) * 1000).to(at::kLong).abs().remainder(S);
  std::vector<std::vector<Tensor>> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    Tensor source_SD = normal({S, D}, 7).to(at::kFloat).set_requires_grad(true);
    Tensor weights_N = normal({T * K}, 8).to(at::kFloat).set_requires_grad(true);
    const Tensor y_TD =
        combine_rows(gather_rows(source_SD, index_R), {position_N, weights_N, offsets_T1});
    (y_TD * normal({T, D}, 9).to(at::kFloat)).sum().backward();
    found.push_back({y_TD.detach(), source_SD.grad(), weights_N.grad()});
  }
  for (size_t i = 0; i < found[0].size(); ++i) {
    expect_identical(found[1][i], found[0][i]);
    expect_identical(found[2][i], found[0][i]);
  }
}

}  // namespace

}  // namespace moe::ops::rows_test
