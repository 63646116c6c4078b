// Rows that travel in fewer bits. R rows, D width.
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/flow/exchange_errors.h>
#include <moe/parallel/collectives.h>
#include <moe/parallel/row_format.h>
#include <moe/parallel/threads.h>

#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::test::row_format_test {
namespace {

using at::Tensor;
using parallel::decoded_rows;
using parallel::encoded_rows;
using parallel::RowFormat;

constexpr RowFormat kSmall[] = {RowFormat::kFloat8, RowFormat::kInt8};

Tensor there_and_back(const Tensor& rows_RD, RowFormat format) {
  return decoded_rows(encoded_rows(rows_RD, format), rows_RD.scalar_type(), format);
}

/// Number by number, from the definition.
double naive(double x, double largest, RowFormat format) {
  const bool is_int8 = format == RowFormat::kInt8;
  const double steps = is_int8 ? 127 : 448;
  const double scale = static_cast<float>(largest / steps);
  if (scale == 0) return 0;
  const double q = std::clamp(x / scale, -steps, steps);
  if (is_int8) return std::nearbyint(q) * scale;
  // e4m3: three bits behind the leading one, from 2^-6 on; below, multiples of 2^-9.
  const double size = std::abs(q);
  const int exponent = size > 0 ? std::max(-6, std::ilogb(size)) : -6;
  const double step = std::ldexp(1, exponent - 3);
  return std::nearbyint(q / step) * step * scale;
}

TEST(RowFormat, IsWhatItsDefinitionSays) {
  const Tensor rows_RD = normal({9, 33}, 4) * at::logspace(-6, 6, 9, 10, at::kDouble).unsqueeze(1);
  for (const RowFormat format : kSmall) {
    const Tensor read_RD = there_and_back(rows_RD, format);
    for (int64_t r = 0; r < 9; ++r) {
      const double largest = rows_RD[r].abs().max().item<double>();
      for (int64_t d = 0; d < 33; ++d)
        EXPECT_NEAR(read_RD[r][d].item<double>(),
                    naive(rows_RD[r][d].item<double>(), largest, format), 1e-12 * largest)
            << r << ' ' << d;
    }
  }
  EXPECT_TRUE(there_and_back(rows_RD, RowFormat::kBFloat16)
                  .equal(rows_RD.to(at::kBFloat16).to(at::kDouble)));
}

TEST(RowFormat, LosesNoMoreThanHalfAStepOfARow) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const Tensor rows_RD = normal({40, 64}, 5).to(type) * 3;
    const Tensor largest_R1 = rows_RD.abs().amax({1}, true);
    const Tensor apart_RD = (there_and_back(rows_RD, RowFormat::kInt8) - rows_RD).abs();
    EXPECT_TRUE((apart_RD <= largest_R1 / 254 * 1.0001).all().item<bool>());
    const Tensor apart8_RD = (there_and_back(rows_RD, RowFormat::kFloat8) - rows_RD).abs();
    // Half of the last of four bits, and of the smallest step of a row.
    EXPECT_TRUE((apart8_RD <= rows_RD.abs() / 16 * 1.0001 + largest_R1 / 448 / 1024 * 1.01)
                    .all()
                    .item<bool>());
    EXPECT_GT(apart_RD.max().item<double>(), 0);
  }
}

TEST(RowFormat, KeepsZerosTheLargestAndTheSign) {
  for (const RowFormat format : kSmall) {
    const Tensor rows_RD =
        at::tensor({0.0, 0.0, 0.0, -254.0, 127.0, 0.0}, at::kDouble).view({2, 3});
    const Tensor read_RD = there_and_back(rows_RD, format);
    EXPECT_TRUE(read_RD[0].eq(0).all().item<bool>());
    EXPECT_NEAR(read_RD[1][0].item<double>(), -254, 1e-4);
    EXPECT_EQ(read_RD[1][2].item<double>(), 0);
  }
}

TEST(RowFormat, ShowsWhatIsNotFinite) {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")})
    for (const RowFormat format : kSmall)
      for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
        const Tensor rows_RD = at::tensor({1.0, bad, 2.0, 3.0}, at::kDouble).view({2, 2}).to(type);
        const Tensor read_RD = there_and_back(rows_RD, format);
        EXPECT_TRUE(read_RD[0].isnan().all().item<bool>()) << read_RD;
        EXPECT_TRUE(read_RD[1].isfinite().all().item<bool>()) << read_RD;
      }
}

TEST(RowFormat, SendsTheBytesItNames) {
  const Tensor rows_RD = normal({3, 10}, 6);
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16})
    for (const RowFormat format :
         {RowFormat::kFull, RowFormat::kBFloat16, RowFormat::kFloat8, RowFormat::kInt8}) {
      const Tensor encoded = encoded_rows(rows_RD.to(type), format);
      EXPECT_EQ(static_cast<int64_t>(encoded.nbytes()), 3 * parallel::row_bytes(10, type, format));
      EXPECT_EQ(there_and_back(rows_RD.to(type), format).scalar_type(), type);
    }
  EXPECT_EQ(parallel::row_bytes(10, at::kFloat, RowFormat::kInt8), 14);
  EXPECT_EQ(parallel::row_bytes(10, at::kFloat, RowFormat::kBFloat16), 20);
}

TEST(RowFormat, TakesNoRowsAndNoWidthAndLeavesIntegersAlone) {
  for (const RowFormat format : kSmall) {
    EXPECT_EQ(there_and_back(at::zeros({0, 5}), format).sizes(), (std::vector<int64_t>{0, 5}));
    EXPECT_EQ(there_and_back(at::zeros({2, 0}), format).sizes(), (std::vector<int64_t>{2, 0}));
    for (const int64_t width : {1, 4, 5}) {  // one row, whose scale lies at any address
      const Tensor row_1D = normal({1, width}, 9);
      EXPECT_LT((there_and_back(row_1D, format) - row_1D).abs().max().item<double>(), 0.2);
    }
    const Tensor ids_R = at::arange(4, at::kLong);
    EXPECT_TRUE(encoded_rows(ids_R, format).is_same(ids_R));
  }
}

TEST(RowFormat, NamesWhatItKnows) {
  EXPECT_EQ(parallel::parse_row_format("int8", "x"), RowFormat::kInt8);
  EXPECT_ERROR(parallel::parse_row_format("int4", "parallel.exchange"),
               "expected parallel.exchange to be one of full, bfloat16, float8, int8, got 'int4'");
}

TEST(ExchangeErrors, AreThoseOfAllRowsOfALayer) {
  ExchangeErrors errors;
  const Tensor x_RD = normal({5, 4}, 7), y_RD = x_RD + 0.1 * normal({5, 4}, 8);
  errors.add({.layer = 3}, x_RD.narrow(0, 0, 2), y_RD.narrow(0, 0, 2));
  errors.add({.layer = 3}, x_RD.narrow(0, 2, 3), y_RD.narrow(0, 2, 3));
  errors.add({.layer = 3, .is_backward = true}, x_RD, x_RD);
  errors.add({.layer = 1}, at::zeros({0, 4}), at::zeros({0, 4}));
  const auto found = errors.by_layer(errors.sums());
  ASSERT_EQ(found.size(), 2);
  const double dot = (x_RD * y_RD).sum().item<double>(), x = x_RD.norm().item<double>(),
               y = y_RD.norm().item<double>(), apart = (x_RD - y_RD).norm().item<double>();
  EXPECT_NEAR(found.at(3).forward.cosine, dot / (x * y), 1e-14);
  EXPECT_NEAR(found.at(3).forward.relative, apart / x, 1e-14);
  EXPECT_NEAR(found.at(3).backward.cosine, 1, 1e-14);
  EXPECT_EQ(found.at(3).backward.relative, 0);
  EXPECT_TRUE(std::isnan(found.at(1).forward.cosine));
  EXPECT_TRUE(std::isnan(found.at(1).backward.relative));
}

TEST(RowsInFewerBits, AreRoundedOnTheirWayAndGradientsOnTheirs) {
  for (const RowFormat format : {RowFormat::kBFloat16, RowFormat::kFloat8, RowFormat::kInt8})
    parallel::run_ranks(3, [&](const std::shared_ptr<parallel::Communicator>& group) {
      const Tensor x_RD = normal({3, 8}, 10 + group->rank()).set_requires_grad(true);
      const auto errors = std::make_shared<ExchangeErrors>();
      const Tensor y_RD = parallel::start_rows(x_RD, {.send = {1, 1, 1},
                                                      .receive = {1, 1, 1},
                                                      .group = group,
                                                      .format = format,
                                                      .errors = errors,
                                                      .entry = {.layer = 2}})
                              .wait();
      for (int64_t w = 0; w < 3; ++w)
        EXPECT_TRUE(y_RD[w].equal(there_and_back(normal({3, 8}, 10 + w), format)[group->rank()]));
      // Straight through the rounding: the gradient is what was sent back, rounded on its way.
      const Tensor coefficient_RD = normal({3, 8}, 20 + group->rank());
      (y_RD * coefficient_RD).sum().backward();
      for (int64_t w = 0; w < 3; ++w)
        EXPECT_TRUE(
            x_RD.grad()[w].equal(there_and_back(normal({3, 8}, 20 + w), format)[group->rank()]));
      const auto found = errors->by_layer(errors->sums());
      ASSERT_EQ(found.size(), 1);
      const Tensor read_RD = there_and_back(x_RD.detach(), format);
      EXPECT_NEAR(found.at(2).forward.relative,
                  ((read_RD - x_RD).norm() / x_RD.norm()).item<double>(), 1e-12);
      const Tensor back_RD = there_and_back(coefficient_RD, format);
      EXPECT_NEAR(found.at(2).backward.relative,
                  ((back_RD - coefficient_RD).norm() / coefficient_RD.norm()).item<double>(),
                  1e-12);
    });
}

}  // namespace
}  // namespace moe::test::row_format_test
