#pragma once
// Exchanges that go inside machines first, against the group's own. Whoever includes this says
// where the ranks come from. W ranks, R rows.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/parallel/by_machine.h>

#include "tests/support/forwarding_group.h"
#include "tests/support/message_of.h"

namespace moe::test::by_machine_test {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;
using Counts = std::vector<int64_t>;

/// A group whose ranks stand on the machines that the test says.
class OnMachines final : public ForwardingGroup {
 public:
  OnMachines(Group group, Counts machines)
      : ForwardingGroup(std::move(group)), machines_(std::move(machines)) {}
  int64_t machine(int64_t rank) const override { return machines_.at(static_cast<size_t>(rank)); }

 private:
  Counts machines_;
};

/// How many rows `from` sends to `to` in an exchange: none for a third of the pairs.
inline int64_t rows_between(int64_t exchange, int64_t from, int64_t to) {
  const RandomStream stream({.seed = 5}, Purpose::kTest);
  const uint64_t bits = stream.bits((exchange * 64 + from) * 64 + to);
  return bits % 3 == 0 ? 0 : static_cast<int64_t>(bits / 3 % 5);
}

struct Sent {
  Tensor rows;
  Counts send, receive;
};

/// Rows that know whence, where to and which they are.
inline Sent sent_in(int64_t exchange, const parallel::Communicator& group, at::ScalarType type) {
  Sent out;
  std::vector<Tensor> parts;
  for (int64_t w = 0; w < group.size(); ++w) {
    out.send.push_back(rows_between(exchange, group.rank(), w));
    out.receive.push_back(rows_between(exchange, w, group.rank()));
    const int64_t first = (group.rank() * 64 + w) * 16;
    parts.push_back(at::arange(first, first + out.send.back(), at::kLong));
  }
  out.rows = at::cat(parts).unsqueeze(1).expand({-1, 3}).to(type).contiguous();
  return out;
}

/// `machines` of the ranks of `group`.
inline void expect_the_groups_own_results(const Group& group, const Counts& machines) {
  const Group placed = parallel::by_machine(std::make_shared<OnMachines>(group, machines));
  EXPECT_EQ(placed->rank(), group->rank());
  EXPECT_EQ(placed->size(), group->size());
  for (const auto type : {at::kDouble, at::kBFloat16, at::kByte, at::kLong})
    for (int64_t exchange = 0; exchange < 4; ++exchange) {
      const Sent in = sent_in(exchange, *group, type);
      EXPECT_TRUE(placed->all_to_all_v(in.rows, in.send, in.receive)
                      .equal(group->all_to_all_v(in.rows, in.send, in.receive)));
    }
  // Nobody sends anything.
  const Counts none(static_cast<size_t>(group->size()));
  EXPECT_EQ(placed->all_to_all_v(at::zeros({0, 2}), none, none).sizes(),
            (std::vector<int64_t>{0, 2}));

  // Several under way, waited for in another order, one of them never.
  std::vector<parallel::Started> under_way;
  std::vector<Tensor> expected;
  for (int64_t exchange = 0; exchange < 5; ++exchange) {
    const Sent in = sent_in(10 + exchange, *group, at::kFloat);
    expected.push_back(group->all_to_all_v(in.rows, in.send, in.receive));
    under_way.push_back(placed->start_all_to_all_v(in.rows, in.send, in.receive));
  }
  for (const size_t exchange : {2, 0, 3, 1})
    EXPECT_TRUE(under_way[exchange].wait().equal(expected[exchange]));
  under_way.clear();
  Tensor sum = at::ones({2});
  placed->all_reduce(sum);
  EXPECT_TRUE(sum.eq(static_cast<double>(group->size())).all().item<bool>());
}

}  // namespace moe::test::by_machine_test
