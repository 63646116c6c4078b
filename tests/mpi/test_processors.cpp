// Which of a machine's processors its ranks take.

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include <moe/mpi/processors.h>

namespace moe::test {
namespace {

using parallel::share_of_processors;

cpu_set_t mask(const std::vector<int>& cpus) {
  cpu_set_t out;
  CPU_ZERO(&out);
  for (const int cpu : cpus) CPU_SET(cpu, &out);
  return out;
}

std::vector<int> first(int count) {
  std::vector<int> out(count);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(Processors, AreSharedOutAmongRanksThatMayUseAll) {
  const std::vector<cpu_set_t> masks(3, mask(first(8)));
  // Neighbours by core: processors 0 and 4 are one core's.
  const std::vector<int> order = {0, 4, 1, 5, 2, 6, 3, 7};
  std::vector<int> all;
  for (size_t rank = 0; rank < 3; ++rank) {
    const auto share = share_of_processors(masks, rank, order);
    EXPECT_EQ(share.threads, static_cast<int64_t>(share.bind.size()));
    EXPECT_GE(share.threads, 2);
    all.insert(all.end(), share.bind.begin(), share.bind.end());
  }
  EXPECT_EQ(all, order);
}

TEST(Processors, StayWhereTheLauncherBoundThem) {
  const std::vector<cpu_set_t> masks = {mask({0, 1}), mask({2, 3, 4})};
  EXPECT_TRUE(share_of_processors(masks, 0, first(8)).bind.empty());
  EXPECT_EQ(share_of_processors(masks, 0, first(8)).threads, 2);
  EXPECT_EQ(share_of_processors(masks, 1, first(8)).threads, 3);
}

TEST(Processors, OfAGroupThatTheLauncherBoundTogetherAreSharedOutInIt) {
  const std::vector<cpu_set_t> masks = {mask({0, 1, 2, 3}), mask({4, 5, 6, 7}), mask({0, 1, 2, 3})};
  EXPECT_EQ(share_of_processors(masks, 0, first(8)).bind, (std::vector<int>{0, 1}));
  EXPECT_EQ(share_of_processors(masks, 2, first(8)).bind, (std::vector<int>{2, 3}));
  EXPECT_EQ(share_of_processors(masks, 1, first(8)).threads, 4);
}

TEST(Processors, TooFewForAllAreUsedByAll) {
  const std::vector<cpu_set_t> masks(5, mask(first(2)));
  const auto share = share_of_processors(masks, 4, first(2));
  EXPECT_TRUE(share.bind.empty());
  EXPECT_EQ(share.threads, 1);
}

TEST(Processors, OfThisMachineAreListedOnce) {
  auto all = parallel::processors_by_core();
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, first(static_cast<int>(all.size())));
  EXPECT_FALSE(all.empty());
}

}  // namespace
}  // namespace moe::test
