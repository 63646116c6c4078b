// The contract of Dispatcher, held against every registered kind.
// W ranks, T tokens, K choices, N pairs, E experts, L experts on this rank, R rows, D width, O
// output width.

#include <set>
#include <tests/dispatch/scenarios.h>
#include <tests/support/gradcheck.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/parallel/threads.h>

namespace {

using at::Tensor;
using moe::DispatchPlan;
using moe::ExpertRows;
using moe::Routing;
using moe::dispatch::Dispatcher;
using moe::dispatch::dispatchers;
using moe::parallel::run_ranks;
using moe::test::normal;
using moe::test::dispatching::differentiate;
using moe::test::dispatching::expect_near;
using moe::test::dispatching::forward;
using moe::test::dispatching::Gradients;
using moe::test::dispatching::kExperts;
using moe::test::dispatching::kWidth;
using moe::test::dispatching::loads;
using moe::test::dispatching::naive;
using moe::test::dispatching::part_of;
using moe::test::dispatching::ragged;
using Group = std::shared_ptr<moe::parallel::Communicator>;

std::shared_ptr<Dispatcher> make(const std::string& kind, const Group& group,
                                 int64_t num_experts = kExperts) {
  return dispatchers().at(kind).make({num_experts, group}, {});
}

/// First and how many, of experts that lie behind one another.
std::pair<int64_t, int64_t> range_of(const std::vector<int64_t>& experts) {
  for (size_t i = 1; i < experts.size(); ++i) EXPECT_EQ(experts[i], experts[i - 1] + 1);
  return {experts.empty() ? 0 : experts.front(), static_cast<int64_t>(experts.size())};
}

/// Kinds that run on groups of two ranks.
bool takes_ranks(const std::string& kind) {
  bool taken = true;
  try {
    run_ranks(2, [&](const Group& group) { make(kind, group); });
  } catch (const moe::ConfigError&) {
    taken = false;
  }
  return taken;
}

class DispatcherContract : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<Dispatcher> alone() const { return make(GetParam(), moe::parallel::local()); }
};

INSTANTIATE_TEST_SUITE_P(Kinds, DispatcherContract, testing::ValuesIn(dispatchers().names()),
                         [](const auto& info) { return info.param; });

TEST_P(DispatcherContract, PlanSortsPairsByExpertInTokenOrder) {
  for (const auto& [name, routing] : loads()) {
    SCOPED_TRACE(name);
    const DispatchPlan plan = alone()->plan(routing);
    const int64_t N = routing.pairs();
    EXPECT_TRUE(
        (plan.offsets_E.slice(0, 1) - plan.offsets_E.slice(0, 0, -1)).equal(routing.counts_E()));
    EXPECT_TRUE(plan.offsets_L.equal(plan.offsets_E));
    EXPECT_TRUE(plan.token_N.equal(routing.tokens_N().index_select(0, plan.pair_N)));
    ASSERT_EQ(plan.pair_N.size(0), N);
    const Tensor expert_N = routing.experts_N.index_select(0, plan.pair_N);
    std::set<int64_t> seen;
    for (int64_t n = 0; n < N; ++n) {
      const int64_t pair = plan.pair_N[n].item<int64_t>(), e = expert_N[n].item<int64_t>();
      EXPECT_TRUE(seen.insert(pair).second);
      EXPECT_EQ(plan.position_N[pair].item<int64_t>(), e < kExperts ? n : -1);
      if (n == 0) continue;
      const int64_t previous = expert_N[n - 1].item<int64_t>();
      EXPECT_TRUE(previous < e || (previous == e && plan.pair_N[n - 1].item<int64_t>() < pair));
    }
  }
}

TEST_P(DispatcherContract, IdentityExpertsWithWeightsOfSumOneGiveTheInputBack) {
  Routing routing = ragged(40);
  std::vector<double> weights(routing.pairs(), 0);
  std::vector<bool> has_expert(40, false);
  for (int64_t t = 0; t < 40; ++t) {
    std::vector<int64_t> kept;
    for (int64_t n = routing.offsets[t].item<int64_t>(); n < routing.offsets[t + 1].item<int64_t>();
         ++n)
      if (routing.experts_N[n].item<int64_t>() < kExperts) kept.push_back(n);
    for (const int64_t n : kept) weights[n] = 1.0 / static_cast<double>(kept.size());
    has_expert[t] = !kept.empty();
  }
  const Tensor x_TD = normal({40, kWidth}, 2);
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    routing.weights_N =
        at::tensor(weights, at::kDouble).to(dtype == at::kDouble ? at::kDouble : at::kFloat);
    const Tensor typed_TD = x_TD.to(dtype);
    const auto dispatcher = alone();
    const DispatchPlan plan = dispatcher->plan(routing);
    const ExpertRows rows = dispatcher->dispatch(typed_TD, routing, plan);
    EXPECT_EQ(rows.source_SD.scalar_type(), dtype);
    const Tensor out_RD =
        rows.index_R.defined() ? rows.source_SD.index_select(0, rows.index_R) : rows.source_SD;
    const Tensor y_TD = dispatcher->combine(out_RD, routing, plan);
    EXPECT_EQ(y_TD.scalar_type(), dtype == at::kDouble ? at::kDouble : at::kFloat);
    for (int64_t t = 0; t < 40; ++t) {
      const Tensor expected_D =
          has_expert[t] ? typed_TD[t].to(at::kDouble) : at::zeros({kWidth}, at::kDouble);
      EXPECT_LE((y_TD[t].to(at::kDouble) - expected_D).abs().max().item<double>(),
                dtype == at::kDouble ? 1e-14 : 1e-6)
          << t;
    }
  }
}

TEST_P(DispatcherContract, RowsCarryGlobalTokenNumbers) {
  Routing routing = ragged(23);
  routing.first_token = 1000;
  const auto dispatcher = alone();
  const DispatchPlan plan = dispatcher->plan(routing);
  const ExpertRows rows = dispatcher->dispatch(at::zeros({23, kWidth}), routing, plan);
  const int64_t kept = plan.offsets_E[kExperts].item<int64_t>();
  EXPECT_EQ(rows.offsets_L[kExperts].item<int64_t>(), kept);
  EXPECT_EQ(rows.token_R.size(0), rows.rows());
  EXPECT_TRUE(rows.token_R.slice(0, 0, kept).equal(plan.token_N.slice(0, 0, kept) + 1000));
}

TEST_P(DispatcherContract, EqualsTheNaiveLoopForwardAndGradient) {
  for (auto [name, routing] : loads()) {
    for (const bool weight_on_input : {false, true}) {
      SCOPED_TRACE(name + (weight_on_input ? ", weight on input" : ""));
      routing.weight_on_input = weight_on_input;
      const Tensor x_TD = normal({routing.tokens(), kWidth}, 3),
                   w_EOD = normal({kExperts, 4, kWidth}, 4);
      const Tensor coefficient_TO = normal({routing.tokens(), 4}, 5);
      const Gradients expected = differentiate(x_TD, routing, w_EOD, coefficient_TO, naive);
      const Gradients got =
          differentiate(x_TD, routing, w_EOD, coefficient_TO,
                        [&](const Tensor& x, const Routing& routed, const Tensor& w) {
                          const auto dispatcher = alone();
                          const DispatchPlan plan = dispatcher->plan(routed);
                          const ExpertRows rows = dispatcher->dispatch(x, routed, plan);
                          return dispatcher->combine(forward(rows, w), routed, plan);
                        });
      expect_near(got.y_TO, expected.y_TO, "y");
      expect_near(got.x_TD, expected.x_TD, "gradient of x");
      expect_near(got.weights_N, expected.weights_N, "gradient of the weights");
      expect_near(got.w_EOD, expected.w_EOD, "gradient of the experts");
    }
  }
}

/// How T tokens lie on W ranks: unevenly, and some ranks have none.
std::vector<std::vector<int64_t>> token_bounds(int64_t tokens, int64_t ranks) {
  std::vector<int64_t> even(ranks + 1), skewed(ranks + 1, tokens), last_only(ranks + 1, 0);
  for (int64_t w = 0; w <= ranks; ++w) even[w] = w * tokens / ranks;
  skewed[0] = 0;
  for (int64_t w = 1; w < ranks; ++w) skewed[w] = tokens - tokens / (w + 2);
  last_only[ranks] = tokens;
  return {even, skewed, last_only};
}

TEST_P(DispatcherContract, RanksEqualOneRankForwardAndGradient) {
  const std::string kind = GetParam();
  if (!takes_ranks(kind)) GTEST_SKIP() << kind << " is for one rank only, and says so";
  for (auto [name, routing] : loads()) {
    for (const bool weight_on_input : {false, true}) {
      routing.weight_on_input = weight_on_input;
      routing.first_token = 100;
      const int64_t T = routing.tokens();
      const Tensor x_TD = normal({T, kWidth}, 3), w_EOD = normal({kExperts, 4, kWidth}, 4);
      const Tensor coefficient_TO = normal({T, 4}, 5);
      const Gradients expected = differentiate(x_TD, routing, w_EOD, coefficient_TO, naive);
      for (const int64_t W : {1, 2, 3, 5}) {
        for (const auto& bounds : token_bounds(T, W)) {
          SCOPED_TRACE(moe::concat(name, ", ", W, " ranks, ", bounds[1], " tokens on the first",
                                   weight_on_input ? ", weight on input" : ""));
          run_ranks(W, [&](const Group& group) {
            const int64_t begin = bounds[group->rank()], end = bounds[group->rank() + 1];
            const auto dispatcher = make(kind, group);
            const auto [first, count] = range_of(dispatcher->local_experts());
            const Routing mine = part_of(routing, begin, end);
            const auto layer = [&](const Tensor& x, const Routing& routed, const Tensor& w) {
              const DispatchPlan plan = dispatcher->plan(routed);
              const ExpertRows rows = dispatcher->dispatch(x, routed, plan);
              return dispatcher->combine(forward(rows, w), routed, plan);
            };
            const Gradients got =
                differentiate(x_TD.slice(0, begin, end), mine, w_EOD.slice(0, first, first + count),
                              coefficient_TO.slice(0, begin, end), layer);
            const int64_t pair = routing.offsets[begin].item<int64_t>();
            expect_near(got.y_TO, expected.y_TO.slice(0, begin, end), "y");
            expect_near(got.x_TD, expected.x_TD.slice(0, begin, end), "gradient of x");
            expect_near(got.weights_N, expected.weights_N.slice(0, pair, pair + mine.pairs()),
                        "gradient of the weights");
            expect_near(got.w_EOD, expected.w_EOD.slice(0, first, first + count),
                        "gradient of the experts");
          });
        }
      }
    }
  }
}

TEST_P(DispatcherContract, RanksHoldAllExpertsBetweenThem) {
  const std::string kind = GetParam();
  if (!takes_ranks(kind)) GTEST_SKIP() << kind << " is for one rank only, and says so";
  for (const int64_t W : {int64_t{3}, int64_t{5}, kExperts + 2}) {
    std::vector<std::pair<int64_t, int64_t>> held(static_cast<size_t>(W));
    run_ranks(W, [&](const Group& group) {
      held[group->rank()] = range_of(make(kind, group)->local_experts());
    });
    int64_t next = 0;
    for (const auto& [first, count] : held) {
      if (count > 0) {
        EXPECT_EQ(first, next);
      }
      next += count;
    }
    EXPECT_EQ(next, kExperts);
  }
}

TEST_P(DispatcherContract, RefusesARoutingOrInputOfAnotherSize) {
  const auto dispatcher = alone();
  Routing other = ragged(4);
  other.num_experts = kExperts + 1;
  EXPECT_THROW(dispatcher->plan(other), moe::Error);
  const Routing routing = ragged(4);
  const DispatchPlan plan = dispatcher->plan(routing);
  EXPECT_THROW(dispatcher->dispatch(at::zeros({5, kWidth}), routing, plan), moe::Error);
  EXPECT_THROW(dispatcher->dispatch(at::zeros({2, 2, kWidth}), routing, plan), moe::Error);
}

TEST_P(DispatcherContract, RefusesToBeMadeWithoutAGroup) {
  EXPECT_THROW(make(GetParam(), nullptr), moe::ConfigError);
}

TEST(LocalDispatcher, HandsOverTheInputItself) {
  const Routing routing = ragged(8);
  const auto dispatcher = make("local", moe::parallel::local());
  const Tensor x_TD = normal({8, kWidth}, 6);
  EXPECT_TRUE(
      dispatcher->dispatch(x_TD, routing, dispatcher->plan(routing)).source_SD.is_same(x_TD));
}

TEST(LocalDispatcher, RefusesMoreThanOneRank) {
  EXPECT_FALSE(takes_ranks("local"));
  EXPECT_TRUE(takes_ranks("all_to_all"));
}

TEST(AllToAllDispatcher, SendsNoDroppedPair) {
  const Routing routing = ragged(23);
  const int64_t kept = routing.counts_E().sum().item<int64_t>();
  ASSERT_LT(kept, routing.pairs());
  const auto dispatcher = make("all_to_all", moe::parallel::local());
  const DispatchPlan plan = dispatcher->plan(routing);
  ASSERT_TRUE(plan.exchange);
  ASSERT_EQ(plan.exchange->chunks.size(), 1);
  EXPECT_EQ(plan.exchange->chunks[0].send, std::vector<int64_t>{kept});
  EXPECT_EQ(plan.exchange->chunks[0].receive, std::vector<int64_t>{kept});
  EXPECT_EQ(plan.token_R.size(0), kept);
}

TEST(AllToAllDispatcher, OrdersAreInverse) {
  run_ranks(3, [](const Group& group) {
    const auto dispatcher = make("all_to_all", group);
    const DispatchPlan plan = dispatcher->plan(ragged(7 * (group->rank() + 1)));
    const Tensor there = plan.exchange->chunks[0].expert_order_R,
                 back = plan.exchange->chunks[0].arrival_order_R;
    EXPECT_TRUE(there.index_select(0, back).equal(at::arange(there.size(0), at::kLong)));
    EXPECT_EQ(plan.offsets_L[kExperts / 3].item<int64_t>(), there.size(0));
  });
}

}  // namespace
