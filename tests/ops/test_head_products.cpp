// Products of few tokens with a matrix a head. M tokens, H heads, R rows, I inputs, O outputs.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/einsum.h>

#include <moe/ops/head_products.h>

namespace moe::ops::head_products_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;

TEST(HeadProducts, EqualSumsOfProducts) {
  for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-13}, std::pair{at::kFloat, 1e-5}})
    for (const int64_t M : {0, 1, 5})
      for (const int64_t width : {1, 6, 33}) {
        const Tensor w_HRO = normal({3, 9, width}, 1).to(type);
        const Tensor x_MHI = normal({M, 3, 4}, 2).to(type);
        expect_close(combine_head_rows(x_MHI, w_HRO, 2),
                     at::einsum("mhi,hio->mho",
                                {x_MHI.to(at::kDouble), w_HRO.slice(1, 2, 6).to(at::kDouble)}),
                     bound);
        const Tensor y_MHO = normal({M, 3, width}, 3).to(type);
        expect_close(multiply_head_rows(y_MHO, w_HRO, 5, 4),
                     at::einsum("mho,hro->mhr",
                                {y_MHO.to(at::kDouble), w_HRO.slice(1, 5, 9).to(at::kDouble)}),
                     bound);
      }
}

TEST(HeadProducts, ATokenGetsTheSameBitsBesideOthers) {
  const Tensor w_HRO = normal({3, 9, 17}, 1).to(at::kFloat),
               x = normal({5, 3, 4}, 2).to(at::kFloat), y = normal({5, 3, 17}, 3).to(at::kFloat);
  const Tensor combined = combine_head_rows(x, w_HRO, 0),
               multiplied = multiply_head_rows(y, w_HRO, 0, 9);
  const moe::test::WithThreads threads(3);
  for (int64_t m = 0; m < 5; ++m) {
    expect_identical(combine_head_rows(x.slice(0, m, m + 1), w_HRO, 0).contiguous(),
                     combined.slice(0, m, m + 1).contiguous());
    expect_identical(multiply_head_rows(y.slice(0, m, m + 1), w_HRO, 0, 9).contiguous(),
                     multiplied.slice(0, m, m + 1).contiguous());
  }
}

TEST(HeadProducts, RefuseOtherShapes) {
  const Tensor w_HRO = normal({3, 9, 6}, 1);
  EXPECT_ERROR(combine_head_rows(normal({2, 3, 4}, 2), w_HRO, 6), "rows 6 to 10");
  EXPECT_ERROR(combine_head_rows(normal({2, 2, 4}, 2), w_HRO, 0), "Check the head widths");
  EXPECT_ERROR(multiply_head_rows(normal({2, 3, 4}, 2), w_HRO, 0, 9), "rows of 4 numbers, got 6");
  EXPECT_ERROR(multiply_head_rows(normal({2, 3, 6}, 2).to(at::kFloat), w_HRO, 0, 9), "of one type");
}

}  // namespace

}  // namespace moe::ops::head_products_test
