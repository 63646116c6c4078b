// Weights of 8 and 4 bits. R rows, C columns.
#include <bit>
#include <cmath>
#include <tests/support/message_of.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/formats/block_scaled.h>

namespace moe::formats {
namespace {

/// e4m3fn by its definition: sign, 4 bits of exponent with bias 7, 3 of mantissa.
double e4m3(uint8_t byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double size =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return byte & 128 ? -size : size;
}

at::Tensor float8_bytes(const at::Tensor& bytes) {
  return bytes.view(at::kFloat8_e4m3fn);
}

TEST(BlockScaled, KnowsEveryFloat8) {
  const auto all = at::arange(256, at::kLong).to(at::kByte).view({16, 16});
  const auto numbers =
      widen_float8(float8_bytes(all), at::full({1, 1}, 2.0F), {128, 128}, at::kFloat).flatten();
  for (int64_t i = 0; i < 256; ++i) {
    const double expected = 2 * e4m3(static_cast<uint8_t>(i)), got = numbers[i].item<double>();
    EXPECT_TRUE(std::isnan(expected) ? std::isnan(got) : expected == got) << i;
  }
  EXPECT_EQ(numbers[126].item<double>(), 896);
}

TEST(BlockScaled, ScalesRaggedBlocks) {
  for (const auto& [leading, R, C] :
       {std::tuple{std::vector<int64_t>{}, 130, 257}, {{}, 1, 1}, {{}, 128, 128}, {{3}, 5, 7}}) {
    auto shape = leading;
    shape.insert(shape.end(), {R, C});
    const BlockSize block = leading.empty() ? BlockSize{128, 128} : BlockSize{2, 3};
    auto bytes = at::randint(0, 127, shape, at::kLong).to(at::kByte);
    const auto grid = scale_shape(shape, block);
    const auto scales = at::randint(1, 9, grid, at::kFloat) / 8;
    const auto wide = widen_float8(float8_bytes(bytes), scales, block, at::kDouble);
    ASSERT_EQ(wide.sizes(), shape);
    const auto flat = wide.view({-1, R, C}), from = bytes.view({-1, R, C}),
               factors = scales.view({flat.size(0), grid[grid.size() - 2], grid.back()});
    for (int64_t n = 0; n < flat.size(0); ++n)
      for (int64_t r = 0; r < R; ++r)
        for (int64_t c = 0; c < C; ++c)
          ASSERT_EQ(flat[n][r][c].item<double>(),
                    e4m3(from[n][r][c].item<uint8_t>()) *
                        factors[n][r / block[0]][c / block[1]].item<double>())
              << n << ' ' << r << ' ' << c;
    EXPECT_TRUE(at::equal(widen_float8(float8_bytes(bytes), scales, block, at::kBFloat16),
                          wide.to(at::kFloat).to(at::kBFloat16)));
  }
}

TEST(BlockScaled, TakesOneScaleForAll) {
  const auto bytes = at::randint(0, 127, {4, 6}, at::kLong).to(at::kByte);
  const auto one = widen_float8(float8_bytes(bytes), at::full({}, 0.5F), {2, 2}, at::kFloat);
  EXPECT_TRUE(at::equal(
      one, widen_float8(float8_bytes(bytes), at::full({2, 3}, 0.5F), {2, 2}, at::kFloat)));
}

TEST(BlockScaled, RefusesWhatDoesNotFit) {
  const auto bytes = at::randint(0, 127, {4, 6}, at::kLong).to(at::kByte);
  EXPECT_ERROR(widen_float8(float8_bytes(bytes), at::full({2, 2}, 1.0F), {2, 2}, at::kFloat),
               "expected scales of shape [2, 3]");
  EXPECT_ERROR(widen_float8(bytes, at::full({2, 3}, 1.0F), {2, 2}, at::kFloat),
               "expected float8 matrices");
  EXPECT_ERROR(widen_mxfp4(bytes, bytes, at::kFloat), "a byte of scale for each");
  EXPECT_ERROR(widen_mxfp4(bytes.to(at::kInt), bytes.select(1, 0), at::kFloat), "expected bytes");
}

TEST(BlockScaled, KnowsMxfp4) {
  // Each byte holds two numbers, the lower half first.
  const double e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
  const auto blocks = at::randint(0, 256, {2, 3, 4, 16}, at::kLong).to(at::kByte);
  const auto scales = at::randint(120, 134, {2, 3, 4}, at::kLong).to(at::kByte);
  const auto wide = widen_mxfp4(blocks, scales, at::kFloat);
  ASSERT_EQ(wide.sizes(), (std::vector<int64_t>{2, 3, 128}));
  const auto numbers = wide.view({-1, 32}), from = blocks.view({-1, 16}),
             powers = scales.view({-1});
  for (int64_t g = 0; g < 24; ++g)
    for (int64_t i = 0; i < 32; ++i) {
      const auto byte = from[g][i / 2].item<uint8_t>();
      EXPECT_EQ(numbers[g][i].item<double>(), std::ldexp(e2m1[i % 2 == 0 ? byte & 15 : byte >> 4],
                                                         powers[g].item<uint8_t>() - 127));
    }
  EXPECT_TRUE(at::equal(widen_mxfp4(blocks, scales, at::kBFloat16).to(at::kFloat), wide));
  const auto nothing = at::full({1, 1}, 255, at::kByte);
  EXPECT_TRUE(widen_mxfp4(at::full({1, 1, 16}, 0x22, at::kByte), nothing, at::kFloat)
                  .isnan()
                  .all()
                  .item<bool>());
}

}  // namespace
}  // namespace moe::formats
