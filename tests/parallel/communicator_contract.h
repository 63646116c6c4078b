#pragma once
// The contract of Communicator: the suite that every backend is held against. The file that includes this says which
// backends there are. W ranks, R rows.

#include <functional>
#include <string>
#include <tests/support/message_of.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/parallel/communicator.h>

namespace moe::test {

using at::Tensor;
using parallel::Communicator;
using parallel::Reduce;
using parallel::Started;
using Group = std::shared_ptr<Communicator>;

struct Backend {
  std::string name;
  int64_t ranks;
  /// Calls the function on every rank.
  std::function<void(const std::function<void(Group)>&)> run;
};

class CommunicatorContract : public testing::TestWithParam<Backend> {
 protected:
  void run(const std::function<void(Group)>& function) const { GetParam().run(function); }
  int64_t W() const { return GetParam().ranks; }
};

/// How many rows rank `from` sends to rank `to`; zero for some.
int64_t rows_between(int64_t from, int64_t to) {
  return (2 * from + 3 * to + 1) % 4;
}

TEST_P(CommunicatorContract, NumbersRanksFromZero) {
  run([&](Group group) {
    ASSERT_EQ(group->size(), W());
    const Tensor mine = at::full({1}, group->rank(), at::kLong);
    const Tensor ranks = group->all_gather_v(mine, std::vector<int64_t>(W(), 1));
    EXPECT_TRUE(ranks.equal(at::arange(W(), at::kLong))) << ranks;
    for (int64_t w = 0; w < W(); ++w) EXPECT_EQ(group->machine(w), 0);
  });
}

TEST_P(CommunicatorContract, AllReduceAddsInRankOrder) {
  // Float addition is not associative: these add up to another number in any other order.
  const std::vector<float> parts = {1e8F, 3.0F, -1e8F, 5.0F};
  float expected = parts[0];
  for (int64_t w = 1; w < W(); ++w) expected += parts[w];
  run([&](Group group) {
    Tensor values = at::full({2, 3}, parts[group->rank()], at::kFloat);
    group->all_reduce(values);
    EXPECT_TRUE(values.eq(expected).all().item<bool>()) << values;
  });
}

TEST_P(CommunicatorContract, AllReduceTakesEveryDtypeOfNumbers) {
  for (const auto dtype :
       {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kInt, at::kByte}) {
    run([&](Group group) {
      Tensor sum = at::arange(5, dtype).add_(group->rank());
      Tensor largest = sum.clone();
      group->all_reduce(sum);
      group->all_reduce(largest, Reduce::kMax);
      EXPECT_EQ(sum.scalar_type(), dtype);
      EXPECT_TRUE(sum.equal(at::arange(5, dtype).mul_(W()).add_(W() * (W() - 1) / 2))) << sum;
      EXPECT_TRUE(largest.equal(at::arange(5, dtype).add_(W() - 1))) << largest;
    });
  }
}

TEST_P(CommunicatorContract, AllReduceRoundsSixteenBitSumsOnce) {
  // 256 + 1 rounds back to 256 in bfloat16; 256 + 1 + 1 is a bfloat16.
  run([&](Group group) {
    Tensor values = at::full({1}, group->rank() == 0 ? 256 : 1, at::kBFloat16);
    group->all_reduce(values);
    EXPECT_EQ(values.item<float>(), at::full({1}, 255 + W(), at::kBFloat16).item<float>());
  });
}

TEST_P(CommunicatorContract, AllToAllDeliversRowsBySender) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kLong, at::kBool}) {
    for (const std::vector<int64_t>& trailing :
         std::vector<std::vector<int64_t>>{{}, {2}, {2, 3}}) {
      run([&](Group group) {
        // A row's number says who sends it to whom.
        const auto block = [&](int64_t from, int64_t to) {
          std::vector<int64_t> sizes = {rows_between(from, to)};
          sizes.insert(sizes.end(), trailing.begin(), trailing.end());
          return at::full(sizes, 10 * from + to, at::kFloat).to(dtype);
        };
        std::vector<int64_t> send, receive;
        int64_t sent = 0;
        for (int64_t w = 0; w < W(); ++w) {
          send.push_back(rows_between(group->rank(), w));
          receive.push_back(rows_between(w, group->rank()));
          sent += send.back();
        }
        std::vector<int64_t> sizes = {sent};
        sizes.insert(sizes.end(), trailing.begin(), trailing.end());
        const Tensor rows = at::empty(sizes, dtype);
        for (int64_t w = 0, begin = 0; w < W(); begin += send[w++])
          rows.narrow(0, begin, send[w]).copy_(block(group->rank(), w));

        const Tensor received = group->all_to_all_v(rows, send, receive);
        EXPECT_EQ(received.scalar_type(), dtype);
        EXPECT_TRUE(received.is_contiguous());
        int64_t begin = 0;
        for (int64_t w = 0; w < W(); begin += receive[w++])
          EXPECT_TRUE(received.narrow(0, begin, receive[w]).equal(block(w, group->rank())));
        EXPECT_EQ(begin, received.size(0));
      });
    }
  }
}

TEST_P(CommunicatorContract, CarriesZeroRows) {
  run([&](Group group) {
    const Tensor none = at::empty({0, 3}, at::kDouble);
    const std::vector<int64_t> zeros(W(), 0);
    EXPECT_EQ(group->all_to_all_v(none, zeros, zeros).sizes(), none.sizes());
    EXPECT_EQ(group->all_gather_v(none, zeros).sizes(), none.sizes());
    Tensor values = none.clone();
    group->all_reduce(values);
    group->broadcast(values, 0);
    EXPECT_EQ(values.sizes(), none.sizes());
  });
}

TEST_P(CommunicatorContract, AllGatherJoinsRowsByRank) {
  run([&](Group group) {
    std::vector<int64_t> counts;
    std::vector<int64_t> expected;
    for (int64_t w = 0; w < W(); ++w) {
      counts.push_back((w + 2) % 3);
      expected.insert(expected.end(), counts.back(), w);
    }
    const Tensor rows = at::full({counts[group->rank()], 2}, group->rank(), at::kLong);
    const Tensor all = group->all_gather_v(rows, counts);
    EXPECT_TRUE(all.equal(at::tensor(expected, at::kLong).unsqueeze(1).repeat({1, 2}))) << all;
  });
}

TEST_P(CommunicatorContract, BroadcastGivesTheRootsValues) {
  run([&](Group group) {
    for (int64_t root = 0; root < W(); ++root) {
      Tensor values = at::full({3}, group->rank() + 0.5, at::kDouble);
      group->broadcast(values, root);
      EXPECT_TRUE(values.eq(root + 0.5).all().item<bool>());
    }
  });
}

TEST_P(CommunicatorContract, WorksInPlaceOnParameters) {
  run([&](Group group) {
    Tensor parameter = at::full({2}, group->rank() + 1.0, at::kDouble).set_requires_grad(true);
    group->broadcast(parameter, W() - 1);
    EXPECT_EQ(parameter.sum().item<double>(), 2.0 * W());
    group->all_reduce(parameter);
    EXPECT_EQ(parameter.sum().item<double>(), 2.0 * W() * W());
    EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad());
  });
}

TEST_P(CommunicatorContract, ResultsShareNoMemoryWithArguments) {
  run([&](Group group) {
    const Tensor rows = at::ones({W(), 1}, at::kFloat);
    const std::vector<int64_t> ones(W(), 1);
    group->all_to_all_v(rows, ones, ones).fill_(7);
    group->all_gather_v(rows, std::vector<int64_t>(W(), W())).fill_(7);
    group->barrier();
    EXPECT_EQ(rows.sum().item<int64_t>(), W());
  });
}

TEST_P(CommunicatorContract, SplitGroupsByColorOrderedByKey) {
  run([&](Group group) {
    const int64_t rank = group->rank();
    const Group half = group->split(rank % 2, -rank);
    int64_t members = 0, before = 0, sum = 0;
    for (int64_t w = rank % 2; w < W(); w += 2) {
      ++members;
      sum += w;
      before += w > rank ? 1 : 0;
    }
    EXPECT_EQ(half->size(), members);
    EXPECT_EQ(half->rank(), before);
    Tensor values = at::full({1}, rank, at::kLong);
    half->all_reduce(values);
    EXPECT_EQ(values.item<int64_t>(), sum);

    // Groups of one, then the whole again: groups do not disturb each other.
    const Group alone = half->split(half->rank(), 0);
    EXPECT_EQ(alone->size(), 1);
    alone->barrier();
    Tensor all = at::full({1}, rank, at::kLong);
    group->all_reduce(all);
    EXPECT_EQ(all.item<int64_t>(), W() * (W() - 1) / 2);
  });
}

TEST_P(CommunicatorContract, RefusesWrongArgumentsOnAllRanksAndGoesOn) {
  run([&](Group group) {
    const bool last = group->rank() == W() - 1;  // the only one that is wrong
    const std::vector<int64_t> ones(W(), 1);
    const Tensor rows = at::ones({W(), 2}, at::kFloat);
    Tensor values = at::ones({2, 3}, at::kFloat);
    Tensor undefined, strided = at::ones({3, 2}, at::kFloat).t();

    std::vector<int64_t> too_many = ones, negative = ones, short_counts = ones;
    too_many[0] += 1;
    negative[0] = -1;
    short_counts.pop_back();
    const auto refused = [&](const std::function<void()>& call, const std::string& part) {
      const std::string message = message_of(call);
      EXPECT_NE(message.find(part), std::string::npos)
          << "got '" << message << "' for '" << part << "'";
    };
    refused([&] { group->all_to_all_v(rows, last ? too_many : ones, ones); }, "add up");
    refused([&] { group->all_to_all_v(rows, last ? negative : ones, ones); }, "at least 0");
    refused([&] { group->all_to_all_v(rows, ones, last ? short_counts : ones); },
            "one receive count");
    refused([&] { group->all_to_all_v(rows, ones, last ? too_many : ones); }, "expected");
    refused([&] { group->all_to_all_v(last ? at::ones({}) : rows, ones, ones); }, "expected");
    refused([&] { group->all_gather_v(rows, last ? negative : std::vector<int64_t>(W(), W())); },
            "at least 0");
    refused(
        [&] { group->all_gather_v(rows, last ? too_many : std::vector<int64_t>(W(), W() + 1)); },
        "expected");
    refused([&] { group->reduce_scatter_v(rows, last ? too_many : ones); }, "add up");
    refused([&] { group->reduce_scatter_v(last ? at::ones({}) : rows, ones); }, "dimension");
    refused([&] { group->all_reduce(last ? undefined : values); }, "undefined");
    refused([&] { group->all_reduce(last ? strided : values); }, "contiguous");
    refused([&] { group->broadcast(values, last ? W() : 0); }, "root");

    group->all_reduce(values);
    EXPECT_EQ(values.sum().item<int64_t>(), 6 * W());
  });
}

TEST_P(CommunicatorContract, SurvivesManyRounds) {
  run([&](Group group) {
    for (int64_t round = 0; round < 200; ++round) {
      Tensor values = at::full({1}, group->rank() + round, at::kLong);
      group->all_reduce(values);
      EXPECT_EQ(values.item<int64_t>(), W() * round + W() * (W() - 1) / 2);
    }
  });
}

TEST_P(CommunicatorContract, ReduceScatterGivesEachRankItsRows) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    run([&](Group group) {
      std::vector<int64_t> counts;
      int64_t rows = 0, before = 0;
      for (int64_t w = 0; w < W(); ++w) {
        counts.push_back((w + 2) % 3);
        if (w < group->rank()) before += counts.back();
        rows += counts.back();
      }
      const Tensor all = at::arange(2 * rows, dtype).view({rows, 2});
      const Tensor sum = group->reduce_scatter_v(all + group->rank(), counts);
      const Tensor largest = group->reduce_scatter_v(all + group->rank(), counts, Reduce::kMax);
      const Tensor mine = all.narrow(0, before, counts[group->rank()]);
      EXPECT_EQ(sum.scalar_type(), dtype);
      EXPECT_TRUE(sum.equal(mine * W() + W() * (W() - 1) / 2)) << sum;
      EXPECT_TRUE(largest.equal(mine + (W() - 1))) << largest;
    });
  }
}

TEST_P(CommunicatorContract, ReduceScatterAddsInRankOrder) {
  const std::vector<float> parts = {1e8F, 3.0F, -1e8F, 5.0F};
  float expected = parts[0];
  for (int64_t w = 1; w < W(); ++w) expected += parts[w];
  run([&](Group group) {
    const Tensor rows = at::full({2 * W(), 3}, parts[group->rank()], at::kFloat);
    const Tensor mine = group->reduce_scatter_v(rows, std::vector<int64_t>(W(), 2));
    EXPECT_TRUE(mine.equal(at::full({2, 3}, expected, at::kFloat))) << mine;
  });
}

/// So many that they travel on their own, and in parts of different sizes.
constexpr int64_t kMany = 100003;

TEST_P(CommunicatorContract, CarriesManyValues) {
  run([&](Group group) {
    const int64_t rank = group->rank();
    const Tensor numbers = at::arange(kMany, at::kDouble);
    Tensor values = numbers * (rank + 1);
    group->all_reduce(values);
    EXPECT_TRUE(values.equal(numbers * (W() * (W() + 1) / 2)));
    group->broadcast(values.add_(rank), W() - 1);
    EXPECT_TRUE(values.equal(numbers * (W() * (W() + 1) / 2) + (W() - 1)));
    std::vector<int64_t> counts(W(), kMany);
    const Tensor all = group->all_gather_v(numbers + rank, counts);
    for (int64_t w = 0; w < W(); ++w)
      EXPECT_TRUE(all.narrow(0, w * kMany, kMany).equal(numbers + w));
    EXPECT_TRUE(group->reduce_scatter_v(all, counts).equal(numbers * W() + rank * W()));
    EXPECT_TRUE(group->all_to_all_v(all * W() + rank, counts, counts)
                    .view({W(), kMany})
                    .equal(((numbers + rank) * W()).unsqueeze(0) + at::arange(W()).unsqueeze(1)));
  });
}

TEST_P(CommunicatorContract, StartedCollectivesEqualTheOthers) {
  for (const int64_t rows : {int64_t{3}, kMany}) {
    run([&](Group group) {
      const int64_t rank = group->rank();
      const std::vector<int64_t> counts(W(), rows);
      const Tensor mine = at::arange(rows, at::kDouble).sin() + rank, whole = mine.repeat({W()});
      Tensor sum = mine.clone(), largest = mine.clone();
      Started first = group->start_all_reduce(sum);
      Started second = group->start_all_reduce(largest, Reduce::kMax);
      Started exchange = group->start_all_to_all_v(whole, counts, counts);
      Started gather = group->start_all_gather_v(mine, counts);
      Started scatter = group->start_reduce_scatter_v(whole, counts);
      // In another order on other ranks.
      const Tensor scattered = rank % 2 == 0 ? scatter.wait() : Tensor();
      const Tensor gathered = gather.wait();
      EXPECT_TRUE(second.wait().is_same(largest));
      EXPECT_TRUE(first.wait().is_same(sum));
      const Tensor exchanged = exchange.wait();
      EXPECT_TRUE((rank % 2 == 0 ? scattered : scatter.wait())
                      .equal(group->reduce_scatter_v(whole, counts)));
      EXPECT_TRUE(gathered.equal(group->all_gather_v(mine, counts)));
      EXPECT_TRUE(exchanged.equal(group->all_to_all_v(whole, counts, counts)));
      Tensor values = mine.clone();
      group->all_reduce(values);
      EXPECT_TRUE(sum.equal(values));
      values = mine.clone();
      group->all_reduce(values, Reduce::kMax);
      EXPECT_TRUE(largest.equal(values));
    });
  }
}

TEST_P(CommunicatorContract, OtherCallsGoOnWhileCollectivesAreUnderWay) {
  run([&](Group group) {
    std::vector<Started> started;
    for (int64_t i = 0; i < 40; ++i) {
      started.push_back(group->start_all_reduce(at::full({i * 100}, group->rank(), at::kLong)));
      Tensor values = at::full({1}, i, at::kLong);
      group->all_reduce(values);
      EXPECT_EQ(values.item<int64_t>(), i * W());
    }
    for (int64_t i = 0; i < 40; ++i)
      EXPECT_EQ(started[i].wait().sum().item<int64_t>(), i * 100 * W() * (W() - 1) / 2);
  });
}

TEST_P(CommunicatorContract, DroppedHandlesComplete) {
  run([&](Group group) {
    const bool drops = group->rank() == W() - 1;
    for (int64_t round = 0; round < 10; ++round) {
      const Tensor rows = at::full({kMany}, group->rank() + round, at::kLong);
      Started started = group->start_all_reduce(rows);
      if (drops)
        started = Started();
      else
        EXPECT_EQ(started.wait()[0].item<int64_t>(), W() * round + W() * (W() - 1) / 2);
    }
    group->barrier();
  });
}

TEST_P(CommunicatorContract, WaitTellsWhatWasWrongOnAllRanks) {
  run([&](Group group) {
    const bool last = group->rank() == W() - 1;
    const std::vector<int64_t> ones(W(), 1), twos(W(), 2);
    const Tensor rows = at::ones({W(), 2}, at::kFloat);
    Started exchange = group->start_all_to_all_v(rows, last ? twos : ones, ones);
    Started sum = group->start_all_reduce(last ? Tensor() : rows.clone());
    Started good = group->start_all_reduce(at::ones({1}));
    EXPECT_NE(message_of([&] { exchange.wait(); }).find("add up"), std::string::npos);
    EXPECT_NE(message_of([&] { sum.wait(); }).find("undefined"), std::string::npos);
    EXPECT_EQ(good.wait().item<int64_t>(), W());
    EXPECT_FALSE(good.pending());
    EXPECT_NE(message_of([&] { good.wait(); }).find("wait was called before"), std::string::npos);
  });
}

}  // namespace moe::test
