#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/formats/block_scaled.h>

namespace moe::formats {

namespace {

constexpr const char* kPlaceOfBlocks = "formats/block_scaled";

int64_t ceil_of(int64_t numerator, int64_t denominator) {
  return numerator / denominator + (numerator % denominator == 0 ? 0 : 1);
}

/// The 256 numbers of a float8 type.
template <class Float8>
std::array<float, 256> float8_numbers() {
  std::array<float, 256> out;
  for (size_t byte = 0; byte < out.size(); ++byte)
    out[byte] = static_cast<float>(Float8(static_cast<uint8_t>(byte), Float8::from_bits()));
  return out;
}

std::array<float, 256> float8_numbers(at::ScalarType type) {
  return type == at::kFloat8_e5m2 ? float8_numbers<c10::Float8_e5m2>()
                                  : float8_numbers<c10::Float8_e4m3fn>();
}

/// Two numbers of e2m1 for each byte.
constexpr std::array<float, 16> kE2m1 = {0,     0.5,  1,  1.5,  2,  3,  4,  6,
                                         -0.0F, -0.5, -1, -1.5, -2, -3, -4, -6};

float power_of_two(uint8_t scale) {
  return scale == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0F, scale - 127);
}

/// Rows of about a page each, so that small tensors stay on one thread.
int64_t grain(int64_t columns) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, columns));
}

}  // namespace

std::vector<int64_t> scale_shape(at::IntArrayRef values, const BlockSize& block) {
  auto out = values.vec();
  for (size_t i = 0; i < block.size(); ++i) {
    auto& size = out[out.size() - block.size() + i];
    size = ceil_of(size, block[i]);
  }
  return out;
}

at::Tensor widen_float8(const at::Tensor& values, const at::Tensor& scales, const BlockSize& block,
                        at::ScalarType dtype) {
  const auto type = values.scalar_type();
  check((type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2) && values.dim() >= 2 &&
            block[0] > 0 && block[1] > 0,
        kPlaceOfBlocks, "expected float8 matrices and blocks of at least 1, got ",
        c10::toString(type), ' ', values.sizes(), " and blocks of ", block[0], " x ", block[1],
        '.');
  const bool one_scale = scales.numel() == 1;
  const auto expected = scale_shape(values.sizes(), block);
  check(one_scale || scales.sizes() == expected, kPlaceOfBlocks, "expected scales of shape ",
        c10::IntArrayRef(expected), " for values ", values.sizes(), " in blocks of ", block[0],
        " x ", block[1], ", got ", scales.sizes(),
        ". Check that weights and scales belong together.");
  const at::Tensor bytes = values.contiguous(), factors = scales.to(at::kFloat).contiguous();
  at::Tensor out = at::empty(values.sizes(), at::TensorOptions(dtype));
  if (out.numel() == 0) return out;
  const auto table = float8_numbers(type);
  const auto* const from = static_cast<const uint8_t*>(bytes.const_data_ptr());
  const float* const factor = factors.const_data_ptr<float>();
  const int64_t R = values.size(-2), C = values.size(-1), block_rows = ceil_of(R, block[0]),
                block_columns = ceil_of(C, block[1]);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "widen_float8", [&] {
    auto* const to = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, values.numel() / C, grain(C), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = ((row / R) * block_rows + row % R / block[0]) * block_columns;
        for (int64_t b = 0; b < block_columns; ++b) {
          const auto scale =
              static_cast<at::opmath_type<scalar_t>>(factor[one_scale ? 0 : first + b]);
          const int64_t stop = std::min(C, (b + 1) * block[1]);
          for (int64_t c = b * block[1]; c < stop; ++c)
            to[row * C + c] = static_cast<scalar_t>(
                static_cast<at::opmath_type<scalar_t>>(table[from[row * C + c]]) * scale);
        }
      }
    });
  });
  return out;
}

at::Tensor widen_mxfp4(const at::Tensor& blocks, const at::Tensor& scales, at::ScalarType dtype) {
  check(blocks.scalar_type() == at::kByte && scales.scalar_type() == at::kByte &&
            blocks.dim() >= 2 && blocks.sizes().slice(0, blocks.dim() - 1) == scales.sizes(),
        kPlaceOfBlocks, "expected bytes (…, G, B) and a byte of scale for each of G, got ",
        c10::toString(blocks.scalar_type()), ' ', blocks.sizes(), " and ",
        c10::toString(scales.scalar_type()), ' ', scales.sizes(),
        ". Check that blocks and scales belong together.");
  const int64_t B = blocks.size(-1), G = blocks.size(-2);
  auto shape = blocks.sizes().slice(0, blocks.dim() - 2).vec();
  shape.push_back(G * 2 * B);
  at::Tensor out = at::empty(shape, at::TensorOptions(dtype));
  if (out.numel() == 0) return out;
  const at::Tensor bytes = blocks.contiguous(), exponents = scales.contiguous();
  const auto* const from = bytes.const_data_ptr<uint8_t>();
  const auto* const exponent = exponents.const_data_ptr<uint8_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "widen_mxfp4", [&] {
    auto* const to = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, exponents.numel(), grain(2 * B), [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const float scale = power_of_two(exponent[g]);
        std::array<scalar_t, kE2m1.size()> scaled;
        for (size_t i = 0; i < scaled.size(); ++i)
          scaled[i] = static_cast<scalar_t>(kE2m1[i] * scale);
        for (int64_t b = 0; b < B; ++b) {
          const uint8_t byte = from[g * B + b];
          scalar_t* const two = to + (g * B + b) * 2;
          two[0] = scaled[byte & 15];
          two[1] = scaled[byte >> 4];
        }
      }
    });
  });
  return out;
}

}  // namespace moe::formats
