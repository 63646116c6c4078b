// Sequences of unequal lengths in rows. T tokens.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <moe/layers/sequence_groups.h>

namespace moe::layers::sequence_groups_test {

namespace {

using moe::test::expect_identical;
using moe::test::normal;

TEST(SequenceGroups, HoldSequencesOfAboutOneLength) {
  const SequenceGroups groups(Runs::of_lengths({2, 1, 4, 0, 7, 3, 4}), at::kCPU);
  ASSERT_EQ(groups.groups().size(), 4u);  // lengths 1, 2, 3 to 4, 5 to 8
  expect_identical(
      groups.groups()[2].token_NL,
      at::tensor({3, 4, 5, 6, 14, 15, 16, 16, 17, 18, 19, 20}, at::kLong).view({3, 4}));
  expect_identical(groups.groups()[2].length_N, at::tensor({4, 3, 4}, at::kLong));
  EXPECT_FALSE(groups.groups()[3].length_N.defined());
  std::vector<Tensor> tokens;
  for (const auto& group : groups.groups()) tokens.push_back(group.token_NL);
  expect_identical(groups.put_back(tokens), at::arange(21, at::kLong));
}

TEST(SequenceGroups, PutBackWhatTheyTook) {
  for (const auto& lengths :
       {std::vector<int64_t>{3, 9, 1}, {0, 5}, {4}, {1, 1, 2, 300, 17, 0, 64, 65}}) {
    const Runs runs = Runs::of_lengths(lengths);
    const Tensor x_THP = normal({runs.tokens(), 2, 3}, 1).requires_grad_(true);
    const SequenceGroups groups(runs, at::kCPU);
    std::vector<Tensor> taken;
    for (const auto& group : groups.groups()) {
      taken.push_back(group.take(x_THP));
      EXPECT_EQ(taken.back().dim(), 4);
      EXPECT_LT(group.token_NL.numel(), 2 * group.token_NL.size(0) + 2 * runs.tokens());
    }
    const Tensor back_THP = groups.put_back(taken);
    expect_identical(back_THP.detach(), x_THP.detach());
    back_THP.square().sum().backward();
    expect_identical(x_THP.grad(), 2 * x_THP.detach());
  }
}

}  // namespace

}  // namespace moe::layers::sequence_groups_test
