// Rotary positions. B batch, S sequence, H heads, P head width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/ops/rope.h>

namespace moe::ops::rope_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

Tensor naive(const Tensor& x_BSHP, int64_t first, double theta) {
  const Tensor x = x_BSHP.to(at::kDouble).contiguous();
  Tensor out = at::zeros_like(x);
  const int64_t S = x.size(1), H = x.size(2), P = x.size(3);
  const double* in = x.const_data_ptr<double>();
  double* to = out.mutable_data_ptr<double>();
  for (int64_t row = 0; row < x.size(0) * S * H; ++row)
    for (int64_t i = 0; i < P / 2; ++i) {
      const auto position = static_cast<double>(first + row / H % S);
      const double angle =
          position * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(P));
      const double low = in[row * P + i], high = in[row * P + i + P / 2];
      to[row * P + i] = low * std::cos(angle) - high * std::sin(angle);
      to[row * P + i + P / 2] = high * std::cos(angle) + low * std::sin(angle);
    }
  return out;
}

TEST(Rope, EqualsTheNaiveLoops) {
  for (const auto& [dtype, bound] : {std::pair{at::kDouble, 1e-13}, std::pair{at::kFloat, 1e-6},
                                     std::pair{at::kBFloat16, 8e-3}}) {
    const Tensor x_BSHP = normal({2, 5, 3, 8}, 1).to(dtype);
    const Tensor y_BSHP = rope(x_BSHP, 11, 10000);
    EXPECT_EQ(y_BSHP.scalar_type(), dtype);
    expect_close(y_BSHP, naive(x_BSHP, 11, 10000), bound);
  }
}

TEST(Rope, HasTheGradientOfItsInput) {
  expect_gradients([](const auto& in) { return rope(in[0], 3, 100); }, {normal({2, 3, 2, 4}, 1)});
}

TEST(Rope, TakesPositionsOfItsOwn) {
  const Tensor x_BSHP = normal({2, 5, 3, 8}, 1);
  const Tensor position_BS = at::tensor({0, 1, 0, 1, 2, 0, 0, 0, 3, 4}, at::kLong).view({2, 5});
  const Tensor y_BSHP = rope(x_BSHP, position_BS, 10000);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t s = 0; s < 5; ++s) {
      const auto token = [&](const Tensor& t) { return t.slice(0, b, b + 1).slice(1, s, s + 1); };
      const auto at = position_BS[b][s].item<int64_t>();
      expect_close(token(y_BSHP), naive(token(x_BSHP), at, 10000), 1e-13);
    }
  expect_gradients([&](const auto& in) { return rope(in[0], position_BS, 100); },
                   {normal({2, 5, 1, 4}, 1)});
  EXPECT_ERROR(rope(x_BSHP, position_BS + 1, 100), "positions in [0, 5), got 5");
  EXPECT_ERROR(rope(x_BSHP, position_BS - 1, 100), "got -1");
  EXPECT_ERROR(rope(x_BSHP, position_BS.slice(1, 0, 4), 100), "positions of shape [2, 5]");
  EXPECT_EQ(rope(at::zeros({0, 5, 3, 8}), at::zeros({0, 5}, at::kLong), 100).size(1), 5);
}

TEST(Rope, PositionsContinueFromFirst) {
  const Tensor x_BSHP = normal({1, 6, 2, 4}, 1);
  const Tensor parts =
      at::cat({rope(x_BSHP.slice(1, 0, 2), 0, 10000), rope(x_BSHP.slice(1, 2, 6), 2, 10000)}, 1);
  expect_identical(parts, rope(x_BSHP, 0, 10000));
}

TEST(Rope, ProductsDependOnTheDistanceOnly) {
  const Tensor q = normal({1, 1, 1, 6}, 1), k = normal({1, 1, 1, 6}, 2);
  const auto product = [&](int64_t at_q, int64_t at_k) {
    return (rope(q, at_q, 10000) * rope(k, at_k, 10000)).sum().item<double>();
  };
  EXPECT_NEAR(product(7, 3), product(104, 100), 1e-12);
  EXPECT_GT(std::abs(product(7, 3) - product(7, 4)), 1e-3);
}

TEST(Rope, TakesEmptyInputsAndViews) {
  EXPECT_EQ(rope(at::zeros({0, 5, 2, 4}), 0, 10000).sizes(), (std::vector<int64_t>{0, 5, 2, 4}));
  EXPECT_EQ(rope(at::zeros({2, 0, 2, 4}), 9, 10000).sizes(), (std::vector<int64_t>{2, 0, 2, 4}));
  const Tensor x_BHSP = normal({2, 3, 5, 4}, 1);
  expect_identical(rope(x_BHSP.transpose(1, 2), 0, 10000),
                   rope(x_BHSP.transpose(1, 2).contiguous(), 0, 10000));
}

TEST(Rope, ThreadsChangeNoBit) {
  const Tensor x_BSHP = normal({4, 300, 4, 16}, 1).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2}) {
    const WithThreads with(threads);
    found.push_back(rope(x_BSHP, 0, 10000));
  }
  expect_identical(found[1], found[0]);
}

TEST(Rope, RefusesAnOddWidth) {
  EXPECT_ERROR(rope(at::zeros({1, 2, 1, 3}), 0, 10000), "even P");
}

}  // namespace

}  // namespace moe::ops::rope_test
