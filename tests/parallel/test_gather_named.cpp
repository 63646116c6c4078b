// Tensors that only some ranks have.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/parallel/gather_named.h>
#include <moe/parallel/threads.h>

namespace {

using at::Tensor;
using moe::parallel::gather_named;
using moe::parallel::run_ranks;
using Group = std::shared_ptr<moe::parallel::Communicator>;
using Named = std::vector<std::pair<std::string, Tensor>>;

TEST(GatherNamed, GivesEveryRankAllTensorsByName) {
  run_ranks(3, [](const Group& group) {
    Named mine;
    if (group->rank() == 0) mine = {{"z", at::full({2, 3}, 1.5, at::kDouble)}};
    if (group->rank() == 2)
      mine = {{"b", at::full({}, 7, at::kLong)},
              {"a", at::full({0, 4}, 0, at::kFloat)},
              {"long.name", at::full({5}, 2, at::kBFloat16)}};
    const Named all = gather_named(mine, *group);
    ASSERT_EQ(all.size(), 4u);
    const std::vector<std::string> names = {"a", "b", "long.name", "z"};
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(all[i].first, names[i]);
    EXPECT_EQ(all[0].second.sizes(), (std::vector<int64_t>{0, 4}));
    EXPECT_EQ(all[1].second.item<int64_t>(), 7);
    EXPECT_TRUE(at::equal(all[2].second, at::full({5}, 2, at::kBFloat16)));
    EXPECT_TRUE(at::equal(all[3].second, at::full({2, 3}, 1.5, at::kDouble)));
  });
}

TEST(GatherNamed, RefusesANameThatTwoRanksHave) {
  EXPECT_THROW(run_ranks(2,
                         [](const Group& group) {
                           gather_named({{"same", at::full({1}, 1, at::kFloat)}}, *group);
                         }),
               moe::Error);
}

}  // namespace
