// Exchanges that go inside machines first, on threads that are told where they stand. W ranks, M
// machines.
#include <moe/parallel/layout.h>
#include <moe/parallel/options.h>
#include <moe/parallel/threads.h>

#include "tests/parallel/machine_checks.h"

namespace moe::test::by_machine_test {
namespace {

using parallel::run_ranks;

TEST(ByMachine, GivesTheGroupsOwnResults) {
  for (const Counts& machines : std::vector<Counts>{{0, 0, 1, 1},
                                                    {0, 1, 0, 1},
                                                    {0, 1, 1, 0},
                                                    {0, 0, 1, 1, 2, 2},
                                                    {0, 1, 2, 0, 1, 2},
                                                    {0, 0, 0, 1, 1, 1},
                                                    {0, 0, 0, 0, 1, 1, 1, 1}})
    run_ranks(static_cast<int64_t>(machines.size()),
              [&](const Group& group) { expect_the_groups_own_results(group, machines); });
}

/// Counts rows that go to ranks other than one's own, and to how many.
class Counted final : public ForwardingGroup {
 public:
  struct Sums {
    int64_t rows = 0, messages = 0;
  };
  Counted(Group group, std::shared_ptr<Sums> sums)
      : ForwardingGroup(std::move(group)), sums_(std::move(sums)) {}
  parallel::Started start_all_to_all_v(const Tensor& rows, const Counts& send,
                                       const Counts& receive) override {
    for (int64_t w = 0; w < size(); ++w) {
      sums_->rows += w == rank() ? 0 : send[static_cast<size_t>(w)];
      sums_->messages += w != rank();
    }
    return ForwardingGroup::start_all_to_all_v(rows, send, receive);
  }

 private:
  std::shared_ptr<Sums> sums_;
};

/// Splits first into groups inside machines, then into groups between them, as by_machine does.
class CountedSplits final : public ForwardingGroup {
 public:
  using ForwardingGroup::ForwardingGroup;
  int64_t machine(int64_t rank) const override { return rank / 3; }
  Group split(int64_t color, int64_t key) override {
    auto& sums = splits++ == 0 ? inside : between;
    return std::make_shared<Counted>(ForwardingGroup::split(color, key), sums);
  }
  std::shared_ptr<Counted::Sums> inside = std::make_shared<Counted::Sums>(),
                                 between = std::make_shared<Counted::Sums>();
  int64_t splits = 0;
};

TEST(ByMachine, SendsFewerMessagesAndNoMoreRowsBetweenMachines) {
  run_ranks(6, [](const Group& group) {  // two machines of three
    const auto counted = std::make_shared<CountedSplits>(group);
    const Group placed = parallel::by_machine(counted);
    const Sent in = sent_in(1, *group, at::kFloat);
    placed->all_to_all_v(in.rows, in.send, in.receive);
    int64_t rows = 0;
    for (int64_t w = 0; w < 6; ++w)
      if (w / 3 != group->rank() / 3) rows += in.send[static_cast<size_t>(w)];
    // All ranks together: rows pass through others.
    Tensor sums = at::tensor({rows, counted->between->rows}, at::kLong);
    group->all_reduce(sums);
    EXPECT_EQ(sums[0].item<int64_t>(), sums[1].item<int64_t>());
    EXPECT_GT(sums[0].item<int64_t>(), 0);
    EXPECT_EQ(counted->between->messages, 1);
    EXPECT_EQ(counted->inside->messages, 2);
  });
}

TEST(ByMachine, IsTheGroupWhereThereIsNothingToGather) {
  run_ranks(3, [](const Group& group) {
    EXPECT_EQ(parallel::by_machine(group), group);  // one machine
    const Group apart = std::make_shared<OnMachines>(group, Counts{0, 1, 2});
    EXPECT_EQ(parallel::by_machine(apart), apart);
  });
  EXPECT_ERROR(parallel::by_machine(nullptr), "expected a group, got none");
}

TEST(ByMachine, RefusesMachinesOfDifferentSize) {
  run_ranks(3, [](const Group& group) {
    const Group uneven = std::make_shared<OnMachines>(group, Counts{0, 0, 1});
    EXPECT_ERROR(parallel::by_machine(uneven),
                 "expected as many of the ranks that share experts on each machine, got 2 on the "
                 "first and 1 on another. Set parallel.route = \"direct\"");
  });
}

TEST(ByMachine, IsWhatLayoutsExchangeRowsBy) {
  run_ranks(4, [](const Group& group) {
    const Group placed = std::make_shared<OnMachines>(group, Counts{0, 0, 1, 1});
    parallel::ParallelOptions options;
    EXPECT_EQ(parallel::Layout::of(placed, options).experts, placed);
    options.route = "machines";
    const auto layout = parallel::Layout::of(placed, options);
    EXPECT_NE(layout.experts, placed);
    EXPECT_EQ(layout.world, placed);
    options.experts = 2;  // ranks of one machine share them
    EXPECT_EQ(parallel::Layout::of(placed, options).experts->size(), 2);
  });
}

}  // namespace
}  // namespace moe::test::by_machine_test
