// RMSNorm. T rows, D width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/ops/norm.h>

namespace moe::ops::norm_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

Tensor naive(const Tensor& x_TD, const Tensor& scale_D, double epsilon) {
  const Tensor wide_TD = x_TD.to(at::kDouble);
  Tensor y_TD = at::zeros_like(wide_TD);
  for (int64_t t = 0; t < x_TD.size(0); ++t) {
    double squares = 0;
    for (int64_t d = 0; d < x_TD.size(1); ++d) squares += std::pow(wide_TD[t][d].item<double>(), 2);
    const double rms = std::sqrt(squares / static_cast<double>(x_TD.size(1)) + epsilon);
    for (int64_t d = 0; d < x_TD.size(1); ++d)
      y_TD[t][d] = wide_TD[t][d].item<double>() / rms * scale_D[d].item<double>();
  }
  return y_TD;
}

TEST(RmsNorm, EqualsTheNaiveLoops) {
  for (const auto& [dtype, bound] : {std::pair{at::kDouble, 1e-14}, std::pair{at::kFloat, 1e-6},
                                     std::pair{at::kBFloat16, 1e-6}}) {
    const Tensor x_TD = normal({70, 5}, 1).to(dtype), scale_D = normal({5}, 2).to(dtype);
    const Tensor y_TD = rms_norm(x_TD, scale_D, 1e-5);
    EXPECT_EQ(y_TD.scalar_type(), dtype == at::kDouble ? at::kDouble : at::kFloat);
    expect_close(y_TD, naive(x_TD, scale_D, 1e-5), bound);
  }
}

TEST(RmsNorm, HasTheGradientsOfItsInputs) {
  for (const int64_t rows : {1, 7, 66}) {
    SCOPED_TRACE(rows);
    expect_gradients([](const auto& in) { return rms_norm(in[0], in[1], 1e-5); },
                     {normal({rows, 4}, 1), normal({4}, 2)});
  }
}

TEST(RmsNorm, TakesAnyLeadingShape) {
  const Tensor x = normal({2, 3, 4, 6}, 1), scale_D = normal({6}, 2);
  expect_identical(rms_norm(x, scale_D, 1e-5).flatten(0, 2),
                   rms_norm(x.flatten(0, 2), scale_D, 1e-5));
  expect_identical(rms_norm(x[0][0][0], scale_D, 1e-5), rms_norm(x, scale_D, 1e-5)[0][0][0]);
  expect_identical(rms_norm(x.transpose(0, 1), scale_D, 1e-5),
                   rms_norm(x, scale_D, 1e-5).transpose(0, 1));
}

TEST(RmsNorm, NoRowsGiveNoRowsAndAZeroGradientOfTheScale) {
  Tensor scale_D = normal({6}, 2).set_requires_grad(true);
  const Tensor y = rms_norm(at::zeros({0, 3, 6}, at::kDouble), scale_D, 1e-5);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{0, 3, 6}));
  y.sum().backward();
  expect_identical(scale_D.grad(), at::zeros({6}, at::kDouble));
}

TEST(RmsNorm, ZerosStayFinite) {
  Tensor x_TD = at::zeros({2, 4}).set_requires_grad(true);
  const Tensor y_TD = rms_norm(x_TD, normal({4}, 2), 1e-5);
  expect_identical(y_TD.detach(), at::zeros({2, 4}));
  y_TD.sum().backward();
  EXPECT_TRUE(x_TD.grad().isfinite().all().item<bool>());
}

TEST(RmsNorm, ThreadsChangeNoBitOfOutputAndGradients) {
  std::vector<std::vector<Tensor>> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    Tensor x_TD = normal({1000, 33}, 1).to(at::kFloat).set_requires_grad(true);
    Tensor scale_D = normal({33}, 2).to(at::kFloat).set_requires_grad(true);
    const Tensor y_TD = rms_norm(x_TD, scale_D, 1e-5);
    (y_TD * normal({1000, 33}, 3).to(at::kFloat)).sum().backward();
    found.push_back({y_TD.detach(), x_TD.grad(), scale_D.grad()});
  }
  for (size_t i = 0; i < found[0].size(); ++i) {
    expect_identical(found[1][i], found[0][i]);
    expect_identical(found[2][i], found[0][i]);
  }
}

TEST(RmsNorm, RefusesAnotherWidth) {
  EXPECT_ERROR(rms_norm(at::zeros({2, 5}), at::zeros({4}), 1e-5), "expected x of shape (..., D=4)");
}

}  // namespace

}  // namespace moe::ops::norm_test
