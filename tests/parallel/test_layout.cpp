// Who holds what, and which ranks form which groups. W ranks, X of them share the experts.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/layout.h>
#include <moe/parallel/threads.h>

#include "tests/support/message_of.h"

namespace {

using at::Tensor;
using moe::Parameters;
using moe::parallel::Layout;
using moe::parallel::owner_of;
using moe::parallel::Range;
using moe::parallel::run_ranks;
using moe::parallel::share_of;
using Group = std::shared_ptr<moe::parallel::Communicator>;

TEST(Shares, AreNeighboursAsEvenAsItGoes) {
  EXPECT_EQ(share_of(5, 3, 0), (Range{0, 2}));
  EXPECT_EQ(share_of(5, 3, 1), (Range{2, 2}));
  EXPECT_EQ(share_of(5, 3, 2), (Range{4, 1}));
  EXPECT_EQ(share_of(2, 4, 1), (Range{1, 1}));
  EXPECT_EQ(share_of(2, 4, 3), (Range{2, 0}));
  EXPECT_EQ(share_of(0, 2, 1), (Range{0, 0}));
  for (const int64_t items : {0, 1, 2, 7, 8, 64})
    for (const int64_t parts : {1, 2, 3, 8, 9, 100}) {
      int64_t next = 0;
      for (int64_t part = 0; part < parts; ++part) {
        const Range range = share_of(items, parts, part);
        EXPECT_EQ(range.first, next);
        EXPECT_LE(share_of(items, parts, 0).count - range.count, 1);
        for (; next < range.end(); ++next) EXPECT_EQ(owner_of(next, items, parts), part);
      }
      EXPECT_EQ(next, items);
    }
  EXPECT_THROW(share_of(4, 2, 2), moe::Error);
  EXPECT_THROW(owner_of(4, 4, 2), moe::Error);
}

TEST(Layouts, PutNeighboursTogetherThatShareExperts) {
  run_ranks(6, [](const Group& world) {
    const int64_t rank = world->rank();
    const Layout layout = Layout::of(world, 3);
    EXPECT_EQ(layout.experts->size(), 3);
    EXPECT_EQ(layout.data->size(), 2);
    EXPECT_EQ(layout.experts->rank(), rank % 3);
    EXPECT_EQ(layout.data->rank(), rank / 3);
    EXPECT_EQ(layout.leads(), rank == 0);
    EXPECT_EQ(layout.first_copy(), rank < 3);
    EXPECT_EQ(layout.experts_of(5), share_of(5, 3, rank % 3));
    Tensor sum = at::full({1}, rank, at::kLong);
    layout.experts->all_reduce(sum);
    EXPECT_EQ(sum.item<int64_t>(), rank < 3 ? 0 + 1 + 2 : 3 + 4 + 5);
    sum.fill_(rank);
    layout.data->all_reduce(sum);
    EXPECT_EQ(sum.item<int64_t>(), rank % 3 + (rank % 3 + 3));
  });
}

TEST(Layouts, NeedNoGroupsOfTheirOwnWhereAllRanksShareTheExperts) {
  run_ranks(4, [](const Group& world) {
    for (const Layout& layout : {Layout(world), Layout::of(world, 0), Layout::of(world, 4),
                                 Layout::of(world, 0, 1), Layout::of(world, 4, 1)}) {
      EXPECT_EQ(layout.experts, world);
      EXPECT_EQ(layout.data->size(), 1);
    }
    EXPECT_EQ(Layout::of(world, 0, 2).experts->size(), 2);
    EXPECT_EQ(Layout::of(world, 1).data->size(), 4);
  });
  EXPECT_EQ(Layout().world->size(), 1);
  EXPECT_ERROR(Layout(nullptr), "expected a group, got none");
}

TEST(Layouts, ThatRanksDoNotFillAreRefused) {
  const Group one = moe::parallel::local();
  EXPECT_ERROR(Layout::of(one, 2), "to divide the 1 rank of the run, got 2");
  EXPECT_ERROR(Layout::of(one, -1), "got -1");
  run_ranks(6, [](const Group& world) {
    EXPECT_ERROR(Layout::of(world, 4), "Use one of 1, 2, 3, 6");
    EXPECT_ERROR(Layout::of(world, 2, 2), "got 2 times 2. Set one of them, or start 4 ranks");
  });
}

TEST(Layouts, AddGradientsOfExpertsWhereTheSameOnesAre) {
  run_ranks(6, [](const Group& world) {
    const Layout layout = Layout::of(world, 3);
    const auto rank = static_cast<double>(world->rank());
    const auto learning = [&](int64_t rows) {
      return at::full({rows, 2}, 0, at::kDouble).set_requires_grad(true);
    };
    const auto [first, L] = layout.experts_of(4);
    Parameters parameters = {
        {"shared", learning(3), {}},
        {"stack",
         learning(L),
         {.per_expert = true, .sharded = true, .first_expert = first, .whole = 4}},
        {"single", learning(2), {.expert = first}},
        {"idle", learning(2), {.expert = first}}};
    for (size_t i = 0; i < 3; ++i)
      parameters[i].tensor.mutable_grad() =
          at::full(parameters[i].tensor.sizes(), rank + 1, at::kDouble);
    // An expert whose module saw rows in one copy alone.
    if (layout.first_copy()) parameters[3].tensor.mutable_grad() = at::full({2, 2}, 7, at::kDouble);
    reduce_gradients(parameters, layout);
    const double of_experts = (world->rank() % 3 + 1) + (world->rank() % 3 + 4);
    const std::vector<double> expected = {1 + 2 + 3 + 4 + 5 + 6, of_experts, of_experts, 7};
    for (size_t i = 0; i < 4; ++i)
      EXPECT_TRUE(parameters[i].tensor.grad().eq(expected[i]).all().item<bool>())
          << parameters[i].name;
  });
}

}  // namespace
