// A format of weights is one struct that says how its numbers are read: blocks of int8 with a scale
// each, made up here, through the loops as they are, against the numbers that they stand for.
#include <cstring>
#include <random>
#include <tests/support/guarded.h>
#include <vector>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_portable.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

namespace {

using moe::test::Guarded;

/// int8 numbers in blocks of 32 along a row, each block with a float32 scale.
struct Int8Blocks {
  static constexpr int64_t kBlock = 32, kLine = 64;
  struct Row {
    const int8_t* numbers;
    const float* scales;
    int64_t column;

    Row operator+(int64_t n) const { return {numbers, scales, column + n}; }
  };
  struct Stride {
    int64_t numbers, scales;
  };

  static Row at(const Matrix& m, int64_t row, int64_t column) {
    return {static_cast<const int8_t*>(m.data) + row * m.row_bytes,
            static_cast<const float*>(m.scales) + row * m.scale_row_bytes / 4, column};
  }
  static Stride stride(const Matrix& m) { return {m.row_bytes, m.scale_row_bytes / 4}; }
  static Row below(Row p, Stride stride, int64_t n) {
    return {p.numbers + n * stride.numbers, p.scales + n * stride.scales, p.column};
  }
  static int64_t numbers(const Matrix& m) { return m.row_bytes; }
  static void prefetch(Row p) { __builtin_prefetch(p.numbers + p.column, 0, 2); }

  template <class Simd>
  static typename Simd::V floats(Row p, int64_t n) {
    float values[Simd::kWidth] = {};
    for (int64_t i = 0; i < n && i < Simd::kWidth; ++i)
      values[i] = p.numbers[p.column + i] * p.scales[(p.column + i) / kBlock];
    return Simd::load(values);
  }
};

/// The made-up format takes the place of bfloat16.
constexpr auto kInt8 = NumberFormat::kBFloat16;

ProductKernels kernels_with_int8() {
  using Unit = FloatUnit<Portable>;
  ProductKernels out = product_kernels<Portable, Unit>();
  out.formats[static_cast<int>(NumberFormat::kFloat32)] =
      format_kernels<Portable, Unit, Float32Format>();
  out.formats[static_cast<int>(kInt8)] = format_kernels<Portable, Unit, Int8Blocks>();
  return out;
}

size_t size(int64_t n) {
  return static_cast<size_t>(n);
}

/// C = A B with B in int8 against the same with what B stands for.
void expect_equal(const ProductKernels& kernels, int64_t rows, int64_t columns, int64_t depth,
                  bool depth_contiguous) {
  SCOPED_TRACE(concat(rows, " x ", columns, " x ", depth, depth_contiguous ? ", along" : ""));
  const int64_t R = depth_contiguous ? columns : depth, C = depth_contiguous ? depth : columns;
  const int64_t blocks = (C + Int8Blocks::kBlock - 1) / Int8Blocks::kBlock;
  Guarded<int8_t> numbers(size(R * C));
  Guarded<float> scales(size(R * blocks)), values(size(R * C)), a(size(rows * depth));
  std::mt19937 random(static_cast<uint32_t>(rows + columns + depth));
  for (float& scale : scales) scale = static_cast<float>(random() % 100) / 256;
  for (float& x : a) x = static_cast<float>(random() % 1000) / 500 - 1;
  for (int64_t r = 0; r < R; ++r)
    for (int64_t c = 0; c < C; ++c) {
      const auto i = size(r * C + c);
      numbers[i] = static_cast<int8_t>(random() % 255 - 127);
      values[i] = numbers[i] * scales[size(r * blocks + c / Int8Blocks::kBlock)];
    }
  Guarded<float> got(size(rows * columns)), expected(got.size());
  const auto product = [&](const Matrix& b, Guarded<float>& out) {
    Product p;
    p.kernels = &kernels;
    p.a = {RowsOf<float>{a.data(), depth}.matrix(), true};
    p.b = {b, depth_contiguous};
    p.rows = rows, p.columns = columns, p.depth = depth;
    p.destination = {out.data(), columns};
    p.finish = [&](const Block& block, const Sums& sums) {
      for (int64_t r = 0; r < block.rows; ++r)
        std::memcpy(out.data() + (block.row + r) * columns + block.column,
                    sums.sums + r * sums.stride, size(block.columns) * sizeof(float));
    };
    run({p});
  };
  product({kInt8, numbers.data(), C, nullptr, scales.data(), blocks * 4}, got);
  product(RowsOf<float>{values.data(), C}.matrix(), expected);
  EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0);
}

TEST(WeightFormat, IsOneStructThatSaysHowNumbersAreRead) {
  const ProductKernels kernels = kernels_with_int8();
  // Few rows: B where it stands and B transposed in registers; many: packed, in several blocks.
  for (const int64_t rows : {1, 5, 8, 9, 40})
    for (const auto& [columns, depth] :
         std::vector<std::pair<int64_t, int64_t>>{{7, 70}, {40, 33}, {64, 600}, {300, 129}})
      for (const bool depth_contiguous : {false, true})
        expect_equal(kernels, rows, columns, depth, depth_contiguous);
}

}  // namespace

}  // namespace moe::ops::cpu
