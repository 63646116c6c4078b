// Functions of each number for itself.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>

#include <ATen/ops/tensor.h>

#include <moe/ops/pointwise.h>

namespace moe::ops::pointwise_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;

struct Case {
  const char* name;
  Tensor (*tensors)(const Tensor&);
  double (*number)(double);
};

const std::vector<Case> kCases = {
    {"silu", ops::silu, [](double x) { return x / (1 + std::exp(-x)); }},
    {"sigmoid", ops::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"softplus", ops::softplus, [](double x) { return std::log(1 + std::exp(x)); }},
    {"tanh", ops::tanh, [](double x) { return std::tanh(x); }}};

TEST(Pointwise, EqualsItsFormula) {
  for (const auto& [name, tensors, number] : kCases) {
    const Tensor x = normal({3, 7}, 1) * 4, y = tensors(x);
    ASSERT_EQ(y.sizes(), x.sizes());
    for (int64_t i = 0; i < x.numel(); ++i)
      EXPECT_NEAR(y.view({-1})[i].item<double>(), number(x.view({-1})[i].item<double>()), 1e-14)
          << name;
    expect_close(tensors(x.to(at::kFloat)), y, 1e-6, name);
    expect_close(tensors(x.t()), y.t(), 0, name);
    EXPECT_EQ(tensors(x.slice(0, 0, 0)).numel(), 0);
  }
}

TEST(Pointwise, HoldsAtTheEndsOfTheRange) {
  const Tensor x = at::tensor({-1e4, -800.0, 800.0, 1e4}, at::kDouble);
  expect_close(ops::silu(x), at::tensor({0.0, 0.0, 800.0, 1e4}, at::kDouble), 0);
  expect_close(ops::sigmoid(x), at::tensor({0.0, 0.0, 1.0, 1.0}, at::kDouble), 0);
  expect_close(ops::softplus(x), at::tensor({0.0, 0.0, 800.0, 1e4}, at::kDouble), 0);
}

TEST(Pointwise, GradientsEqualCentralDifferences) {
  for (const auto& [name, tensors, number] : kCases) {
    SCOPED_TRACE(name);
    expect_gradients([&](const std::vector<Tensor>& in) { return tensors(in[0]); },
                     {normal({4, 5}, 2)});
  }
}

TEST(Pointwise, BitsDoNotDependOnThePlaceInMemory) {
  const Tensor x = normal({1001}, 3).to(at::kFloat);
  for (const auto& [name, tensors, number] : kCases) {
    const Tensor all = tensors(x);
    for (const int64_t i : {0, 1, 7, 31, 64, 500, 999, 1000})
      expect_identical(tensors(x.slice(0, i, i + 1)), all.slice(0, i, i + 1), name);
  }
}

}  // namespace

}  // namespace moe::ops::pointwise_test
