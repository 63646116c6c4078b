// Rotary positions. T tokens, H heads, P head width, R rows of a table.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/rope.h>

namespace moe::ops::rope_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

/// Positions first … first + R - 1 for tokens in rows of R.
RopeTable table_of(const Tensor& x_THP, int64_t R, int64_t first, double theta, int64_t width = 0,
                   bool interleaved = false) {
  return rope_table(at::arange(first, first + R, at::kLong), {}, width > 0 ? width : x_THP.size(2),
                    theta, interleaved, x_THP.options());
}

/// One token (H, P) at a position.
Tensor naive(const Tensor& x_HP, int64_t position, double theta, int64_t width, bool interleaved) {
  Tensor out_HP = x_HP.to(at::kDouble).clone();
  for (int64_t h = 0; h < x_HP.size(0); ++h)
    for (int64_t i = 0; i < width / 2; ++i) {
      const double angle =
          static_cast<double>(position) *
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      const int64_t one = interleaved ? 2 * i : i, other = interleaved ? 2 * i + 1 : i + width / 2;
      const double a = x_HP[h][one].item<double>(), b = x_HP[h][other].item<double>();
      out_HP[h][one] = a * std::cos(angle) - b * std::sin(angle);
      out_HP[h][other] = b * std::cos(angle) + a * std::sin(angle);
    }
  return out_HP;
}

TEST(Rope, EqualsTheNaiveLoops) {
  for (const auto& [dtype, bound] :
       {std::pair{at::kDouble, 1e-13}, std::pair{at::kFloat, 1e-6}, std::pair{at::kBFloat16, 8e-3}})
    for (const bool interleaved : {false, true})
      for (const int64_t width : {8, 4, 2}) {
        const Tensor x_THP = normal({10, 3, 8}, 1).to(dtype);
        const Tensor y_THP = rope(x_THP, table_of(x_THP, 5, 11, 10000, width, interleaved));
        EXPECT_EQ(y_THP.scalar_type(), dtype);
        for (int64_t t = 0; t < 10; ++t)
          expect_close(y_THP[t], naive(x_THP[t], 11 + t % 5, 10000, width, interleaved), bound);
      }
}

TEST(Rope, HasTheGradientOfItsInput) {
  for (const bool interleaved : {false, true})
    for (const int64_t width : {6, 4})
      expect_gradients(
          [&](const auto& in) {
            return rope(in[0], table_of(in[0], 3, 3, 100, width, interleaved));
          },
          {normal({6, 2, 6}, 1)});
}

TEST(Rope, TokensMayHaveRowsOfTheirOwn) {
  const Tensor x_THP = normal({10, 3, 8}, 1);
  const Tensor row_T = at::tensor({0, 1, 0, 1, 2, 0, 0, 0, 3, 4}, at::kLong);
  const auto table = [&](const Tensor& rows) {
    return rope_table(at::arange(5, at::kLong), rows, 8, 10000, false, x_THP.options());
  };
  const Tensor y_THP = rope(x_THP, table(row_T));
  for (int64_t t = 0; t < 10; ++t)
    expect_close(y_THP[t], naive(x_THP[t], row_T[t].item<int64_t>(), 10000, 8, false), 1e-13);
  expect_gradients([&](const auto& in) { return rope(in[0], table(row_T)); },
                   {normal({10, 1, 8}, 1)});
  EXPECT_ERROR(rope(x_THP, table(row_T + 1)), "rows in [0, 5), got 5");
  EXPECT_ERROR(rope(x_THP, table(row_T - 1)), "got -1");
  EXPECT_ERROR(rope(x_THP, table(row_T.slice(0, 0, 4))), "rows of shape (T=10)");
  EXPECT_ERROR(rope(x_THP.slice(0, 0, 7), table({})), "multiple of the table's 5 rows, got 7");
}

/// Decoded tokens must turn by the same bits as those of a whole text.
TEST(Rope, PiecesTurnByTheSameBits) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const Tensor x_THP = normal({600, 2, 6}, 1).to(type);
    const Tensor whole_THP = rope(x_THP, table_of(x_THP, 600, 0, 10000));
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 2}, {2, 600}, {599, 600}, {77, 90}}) {
      const Tensor part = x_THP.slice(0, begin, end);
      expect_identical(rope(part, table_of(part, end - begin, begin, 10000)),
                       whole_THP.slice(0, begin, end));
    }
  }
}

TEST(Rope, ProductsDependOnTheDistanceOnly) {
  const Tensor q = normal({1, 1, 6}, 1), k = normal({1, 1, 6}, 2);
  const auto product = [&](int64_t at_q, int64_t at_k) {
    return (rope(q, table_of(q, 1, at_q, 10000)) * rope(k, table_of(k, 1, at_k, 10000)))
        .sum()
        .item<double>();
  };
  EXPECT_NEAR(product(7, 3), product(104, 100), 1e-12);
  EXPECT_GT(std::abs(product(7, 3) - product(7, 4)), 1e-3);
}

TEST(Rope, TakesNoTokensAndViews) {
  const Tensor none = at::zeros({0, 2, 4});
  EXPECT_EQ(rope(none, table_of(none, 5, 0, 100)).sizes(), none.sizes());
  EXPECT_EQ(rope(none, table_of(none, 0, 0, 100)).sizes(), none.sizes());
  const Tensor x_HTP = normal({3, 5, 4}, 1), x_THP = x_HTP.transpose(0, 1);
  expect_identical(rope(x_THP, table_of(x_THP, 5, 0, 10000)),
                   rope(x_THP.contiguous(), table_of(x_THP, 5, 0, 10000)));
}

TEST(Rope, ThreadsChangeNoBit) {
  const Tensor x_THP = normal({1200, 4, 16}, 1).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2}) {
    const WithThreads with(threads);
    found.push_back(rope(x_THP, table_of(x_THP, 300, 0, 10000)));
  }
  expect_identical(found[1], found[0]);
}

TEST(Rope, RefusesWidthsThatDoNotFit) {
  const Tensor x_THP = at::zeros({2, 1, 3});
  EXPECT_ERROR(table_of(x_THP, 2, 0, 10000), "even width, got 3");
  EXPECT_ERROR(rope(x_THP, table_of(x_THP, 2, 0, 10000, 4)), "P at least 4");
}

}  // namespace

}  // namespace moe::ops::rope_test
