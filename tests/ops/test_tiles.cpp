// Products on the tiles of AMX: the arithmetic of the instruction on numbers chosen by hand,
// products of every layout against its chain, and, on a processor that has tiles, the instructions
// against plain C++. Bits throughout.
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <tests/support/guarded.h>
#include <vector>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/amx/rule.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/product.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moe::ops::cpu::tiles_test {

namespace {

using moe::test::Guarded;

constexpr float kInfinity = INFINITY;

BFloat16 rounded_down(float x) {
  return {static_cast<uint16_t>(bits_of(x) >> 16)};
}

TEST(TileRule, FlushesDenormalsToZeroOfTheirSign) {
  EXPECT_EQ(bits_of(flushed(float_of(0x007fffff))), 0u);
  EXPECT_EQ(bits_of(flushed(float_of(0x80000001))), 0x80000000u);
  EXPECT_EQ(bits_of(flushed(float_of(kSmallest))), kSmallest);
  // 2^-100 2^-30 is denormal; so is the sum of two numbers that nearly cancel.
  EXPECT_EQ(bits_of(fused(0x1p-100f, -0x1p-30f, 0)), 0x80000000u);
  EXPECT_EQ(bits_of(added(0x1.8p-126f, -0x1p-126f)), 0u);
}

TEST(TileRule, TakesATinySumThatRoundsUpToTheSmallestNumberForZero) {
  // 2^-126 (1 - 2^-25): the nearest float32 is 2^-126, but 24 bits without an end of exponents hold
  // a number below it only from 2^-126 (1 - 2^-24) down, so that this one rounds up to 2^-126.
  EXPECT_EQ(bits_of(fused(0x1p-100f, -0x1p-51f, 0x1p-126f)), kSmallest);
  // 2^-126 (1 - 2^-24) is such a number, and tiny; float32 has no room for it either.
  EXPECT_EQ(std::fma(0x1p-100f, -0x1p-50f, 0x1p-126f), 0x1p-126f);
  EXPECT_EQ(bits_of(fused(0x1p-100f, -0x1p-50f, 0x1p-126f)), 0u);
  EXPECT_EQ(bits_of(fused(0x1p-100f, 0x1p-50f, -0x1p-126f)), 0x80000000u);
}

TEST(TileRule, KeepsTheFirstNaNAndMakesOneOfInvalidOperations) {
  const float a = float_of(0x7f810000), b = float_of(0xffc20000), c = float_of(0x7fc30000);
  EXPECT_EQ(bits_of(fused(a, b, c)), 0x7fc10000u);
  EXPECT_EQ(bits_of(fused(1, b, c)), 0xffc20000u);
  EXPECT_EQ(bits_of(fused(1, 1, c)), 0x7fc30000u);
  EXPECT_EQ(bits_of(fused(0, kInfinity, 1)), kInvalid);
  EXPECT_EQ(bits_of(fused(1, kInfinity, -kInfinity)), kInvalid);
  EXPECT_EQ(bits_of(added(kInfinity, -kInfinity)), kInvalid);
  EXPECT_EQ(bits_of(added(c, a)), 0x7fc30000u);
}

TEST(TileRule, SumsEvenAndOddPlacesApartBeforeTheOldSum) {
  // In one chain from c the ones would be lost one by one.
  std::vector<BFloat16> a(32, rounded_down(1)), b(32, rounded_down(1));
  EXPECT_EQ(dot_pairs(a.data(), b.data(), 2, 16, 0x1p24f), 0x1p24f + 32);
  // Big numbers in the even places cancel there, whatever the odd ones are.
  a[0] = rounded_down(0x1p30f);
  a[2] = rounded_down(-0x1p30f);
  EXPECT_EQ(dot_pairs(a.data(), b.data(), 2, 16, 0), 14 + 16);
}

#if defined(__x86_64__)
/// The same by the processor's own multiply-add with its flags for denormals set.
__attribute__((target("fma"))) float fused_by_flags(float a, float b, float c) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush to zero, denormals are zero
  const __m128 sum = _mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c));
  _mm_setcsr(before);
  return _mm_cvtss_f32(sum);
}

TEST(TileRule, IsAMultiplyAddThatFlushesDenormals) {
  if (!this_processor().avx2) GTEST_SKIP() << "the processor has no FMA";
  std::mt19937 random(1);
  for (int i = 0; i < 300000; ++i) {
    // Sums near the smallest number, and numbers of all sizes.
    const auto any = [&] { return widened({static_cast<uint16_t>(random())}); };
    const bool near = i % 2 == 0;
    const float a =
        near ? std::ldexp(widened({static_cast<uint16_t>(0x3f80 + random() % 128)}), -63) : any();
    const float b = near ? std::ldexp(widened({static_cast<uint16_t>(0x3f80 + random() % 128)}),
                                      -63 - static_cast<int>(random() % 26))
                         : any();
    const float c = near ? flushed(float_of((random() & kSign) | (kSmallest + random() % 3)))
                         : flushed(float_of(random()));
    const float got = fused(a, b, c), expected = fused_by_flags(a, b, c);
    if (got != got || expected != expected) {
      ASSERT_TRUE(got != got && expected != expected);
      continue;
    }
    ASSERT_EQ(bits_of(got), bits_of(expected)) << a << ' ' << b << ' ' << c;
  }
}
#endif

size_t size(int64_t n) {
  return static_cast<size_t>(n);
}

void fill(Guarded<BFloat16>& values, std::mt19937& random) {
  for (BFloat16& x : values)
    x = rounded_down(static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 300);
}

/// C = A B on tiles of one table: A and B with their depth along rows or down columns, A gathered.
std::vector<float> product(const ProductKernels& kernels, const Guarded<BFloat16>& a, bool a_along,
                           const Guarded<BFloat16>& b, bool b_along, int64_t rows, int64_t columns,
                           int64_t depth) {
  std::vector<float> out(size(rows * columns), -1);
  Product p;
  p.kernels = &kernels;
  p.a = {RowsOf<BFloat16>{a.data(), a_along ? depth : rows}.matrix(), a_along};
  p.b = {RowsOf<BFloat16>{b.data(), b_along ? depth : columns}.matrix(), b_along};
  p.rows = rows, p.columns = columns, p.depth = depth;
  p.destination = {out.data(), columns};
  p.finish = [&](const Block& block, const Sums& sums) {
    for (int64_t r = 0; r < block.rows; ++r)
      std::memcpy(out.data() + (block.row + r) * columns + block.column,
                  sums.sums + r * sums.stride, size(block.columns) * sizeof(float));
  };
  run({p});
  return out;
}

/// One chain an element, of 32 steps of depth at a time.
float chain(const Guarded<BFloat16>& a, bool a_along, const Guarded<BFloat16>& b, bool b_along,
            int64_t rows, int64_t columns, int64_t depth, int64_t r, int64_t c) {
  float sum = 0;
  for (int64_t k = 0; k < depth; k += 32) {
    BFloat16 x[32] = {}, y[32] = {};
    for (int64_t i = 0; i < 32 && k + i < depth; ++i) {
      x[i] = a[size(a_along ? r * depth + k + i : (k + i) * rows + r)];
      y[i] = b[size(b_along ? c * depth + k + i : (k + i) * columns + c)];
    }
    sum = dot_pairs(x, y, 2, 16, sum);
  }
  return sum;
}

TEST(Tiles, ProductsAreChainsOf32WhateverTheBlocks) {
  std::mt19937 random(7);
  for (const auto& [rows, columns, depth] : std::vector<std::array<int64_t, 3>>{{1, 1, 1},
                                                                                {5, 33, 31},
                                                                                {16, 32, 32},
                                                                                {17, 40, 33},
                                                                                {33, 70, 64},
                                                                                {70, 31, 100},
                                                                                {40, 20, 1100},
                                                                                {3, 600, 20}})
    for (const bool a_along : {false, true})
      for (const bool b_along : {false, true}) {
        SCOPED_TRACE(concat(rows, " x ", columns, " x ", depth, a_along ? ", A along" : "",
                            b_along ? ", B along" : ""));
        Guarded<BFloat16> a(size(rows * depth)), b(size(depth * columns), true);
        fill(a, random);
        fill(b, random);
        const auto got =
            product(plain_tile_kernels().tiles, a, a_along, b, b_along, rows, columns, depth);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < columns; ++c)
            ASSERT_EQ(bits_of(got[size(r * columns + c)]),
                      bits_of(chain(a, a_along, b, b_along, rows, columns, depth, r, c)))
                << r << ' ' << c;
      }
}

TEST(Tiles, WeightGradientsOfFewRowsGoElsewhere) {
  const Kernels& kernels = plain_tile_kernels();
  const auto bfloat16 = NumberFormat::kBFloat16;
  EXPECT_EQ(&kernels.product(bfloat16, bfloat16, 17), &kernels.tiles);
  EXPECT_EQ(&kernels.product(bfloat16, bfloat16, 16), &kernels.floats);
  EXPECT_EQ(&kernels.product(NumberFormat::kFloat32, bfloat16, 100), &kernels.floats);
}

TEST(Tiles, InstructionsGiveTheBitsOfPlainCode) {
#ifdef __x86_64__
  if (!can_run(this_processor(), InstructionSet::kAmxBf16))
    GTEST_SKIP() << "this processor, or its kernel, has no tiles of AMX";
  const ProductKernels &real = amx_bf16_kernels().tiles, &plain = plain_tile_kernels().tiles;
  std::mt19937 random(3);
  constexpr int64_t kUnits = 32;
  real.begin();
  for (int round = 0; round < 2000; ++round) {
    const int64_t m = 1 + static_cast<int64_t>(random() % 32);
    std::vector<float> a(size(kUnits * m + real.slack)), b(size(kUnits * 32)), c(size(m * 32)), d;
    // Every kind of number: usual ones, any bits, denormals.
    const auto pair = [&] {
      const uint32_t any = random(), kind = round % 3;
      return float_of(kind == 0   ? 0x3f803f80u ^ (any & 0x80ff80ffu)
                      : kind == 1 ? any
                                  : any & 0x81ff81ffu);
    };
    for (auto* values : {&a, &b})
      for (float& x : *values) x = pair();
    for (float& x : c)
      x = float_of(round % 3 == 0 ? 0x3f800000u ^ (random() & 0x80ffffffu) : random());
    d = c;
    real.tile[m](kUnits, a.data(), b.data(), c.data(), 32, true);
    plain.tile[m](kUnits, a.data(), b.data(), d.data(), 32, true);
    ASSERT_EQ(std::memcmp(c.data(), d.data(), c.size() * sizeof(float)), 0) << round;
  }
  real.end();
#else
  GTEST_SKIP() << "tiles are of x86";
#endif
}

}  // namespace

}  // namespace moe::ops::cpu::tiles_test
