// Experts on ranks as a placement says, copies among them, against the naive loop.
// W ranks, T tokens, N pairs, E experts, L experts on this rank, D width, O output width.

#include <algorithm>
#include <tests/dispatch/scenarios.h>
#include <tests/support/message_of.h>

#include <moe/base/error.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/dispatch/expert_slots.h>
#include <moe/dispatch/rows_sent.h>
#include <moe/parallel/threads.h>

namespace moe::test::placements_test {
namespace {

using dispatching::kExperts;
using dispatching::kWidth;
using parallel::run_ranks;
using Group = std::shared_ptr<parallel::Communicator>;
using Ranks = std::vector<std::vector<int64_t>>;

struct Case {
  std::string name;
  int64_t ranks;
  Ranks ranks_E;
};

/// Every expert on the ranks that `ranks_of` says.
template <class RanksOf>
Case placed(const std::string& name, int64_t ranks, RanksOf ranks_of) {
  Case out{name, ranks, {}};
  for (int64_t e = 0; e < kExperts; ++e) out.ranks_E.push_back(ranks_of(e));
  return out;
}

std::vector<Case> cases() {
  using List = std::vector<int64_t>;
  return {
      placed("turns", 2, [](int64_t e) { return List{(e + 1) % 2}; }),
      placed("first_rank_empty", 3, [](int64_t e) { return List{1 + e / 5 % 2}; }),
      placed("uneven", 4, [](int64_t e) { return List{e * e % 3}; }),
      placed("copies", 3,
             [](int64_t e) {
               return e == 7 ? List{1, 0, 2} : List{e * 5 % 3};
             }),
      placed("copies_alone", 4,
             [](int64_t e) {
               return e % 4 == 3 ? List{0, 3} : List{e % 3};
             }),
      placed("all_everywhere", 2,
             [](int64_t e) {
               return List{e % 2, 1 - e % 2};
             }),
  };
}

class Placements : public testing::TestWithParam<Case> {};

TEST_P(Placements, EqualTheNaiveLoopForwardAndGradient) {
  const auto& [case_name, W, ranks_E] = GetParam();
  const auto placement = std::make_shared<const ExpertPlacement>(ranks_E, W);
  for (auto [name, routing] : dispatching::loads()) {
    for (const bool weight_on_input : {false, true}) {
      SCOPED_TRACE(concat(name, weight_on_input ? ", weight on input" : ""));
      routing.weight_on_input = weight_on_input;
      routing.first_token = 100;
      const int64_t T = routing.tokens();
      const Tensor x_TD = normal({T, kWidth}, 3), w_EOD = normal({kExperts, 4, kWidth}, 4);
      const Tensor coefficient_TO = normal({T, 4}, 5);
      const auto expected =
          dispatching::differentiate(x_TD, routing, w_EOD, coefficient_TO, dispatching::naive);
      run_ranks(W, [&](const Group& group) {
        const auto dispatcher =
            dispatch::dispatchers()
                .at("all_to_all")
                .make({.num_experts = kExperts, .group = group, .placement = placement}, {});
        const int64_t begin = T * group->rank() / W, end = T * (group->rank() + 1) / W;
        const Tensor held_L = at::tensor(dispatcher->local_experts(), at::kLong);
        const Routing mine = dispatching::part_of(routing, begin, end);
        const auto got = dispatching::differentiate(
            x_TD.slice(0, begin, end), mine, w_EOD.index_select(0, held_L),
            coefficient_TO.slice(0, begin, end),
            [&](const Tensor& x, const Routing& routed, const Tensor& w) {
              const DispatchPlan plan = dispatcher->plan(routed);
              const ExpertRows rows = dispatcher->dispatch(x, routed, plan);
              // A rank without experts takes part in the backward pass too, as in a layer.
              const Tensor out_RO = held_L.size(0) > 0
                                        ? dispatching::forward(rows, w)
                                        : rows.source_SD.slice(0, 0, 0).sum().expand({0, 4});
              return dispatcher->combine(out_RO, routed, plan);
            });
        Tensor w_gradient_EOD = at::zeros_like(w_EOD).index_copy(0, held_L, got.w_EOD);
        group->all_reduce(w_gradient_EOD);
        const int64_t pair = routing.offsets[begin].item<int64_t>();
        dispatching::expect_near(got.y_TO, expected.y_TO.slice(0, begin, end), "y");
        dispatching::expect_near(got.x_TD, expected.x_TD.slice(0, begin, end), "gradient of x");
        dispatching::expect_near(got.weights_N,
                                 expected.weights_N.slice(0, pair, pair + mine.pairs()),
                                 "gradient of the weights");
        dispatching::expect_near(w_gradient_EOD, expected.w_EOD, "gradient of the experts");
      });
    }
  }
}

TEST_P(Placements, SendEachRankItsExpertsRowsAndCopiesAsMany) {
  const auto& [case_name, W, ranks_E] = GetParam();
  const auto placement = std::make_shared<const ExpertPlacement>(ranks_E, W);
  const Routing routing = dispatching::ragged(60);
  const Tensor load_E = routing.counts_E();
  run_ranks(W, [&](const Group& group) {
    const auto dispatcher =
        dispatch::dispatchers()
            .at("all_to_all")
            .make({.num_experts = kExperts, .group = group, .placement = placement}, {});
    const int64_t begin = 60 * group->rank() / W, end = 60 * (group->rank() + 1) / W;
    const DispatchPlan plan = dispatcher->plan(dispatching::part_of(routing, begin, end));
    const auto held = dispatcher->local_experts();
    EXPECT_EQ(held, placement->held_by(group->rank()));
    ASSERT_EQ(plan.offsets_L.size(0), static_cast<int64_t>(held.size()) + 1);
    Tensor got_E = at::zeros({kExperts}, at::kLong);
    for (size_t l = 0; l < held.size(); ++l) {
      const int64_t rows =
          (plan.offsets_L[static_cast<int64_t>(l) + 1] - plan.offsets_L[static_cast<int64_t>(l)])
              .item<int64_t>();
      const auto copies = static_cast<double>(placement->ranks_of(held[l]).size());
      // Each sender deals out evenly but for one row.
      EXPECT_LE(std::abs(static_cast<double>(rows) - load_E[held[l]].item<double>() / copies),
                copies > 1 ? static_cast<double>(W) : 0);
      got_E[held[l]] = rows;
    }
    Tensor rows_X2 = dispatch::rows_sent(plan, *group);
    int64_t arrived = 0;
    for (const int64_t rows : plan.exchange->chunks.at(0).receive) arrived += rows;
    const int64_t others =
        rows_X2.slice(0, 0, W).sum().item<int64_t>() - rows_X2[group->rank()].item<int64_t>();
    EXPECT_EQ(rows_X2[W].item<int64_t>(), others);
    EXPECT_EQ(rows_X2[W + 1].item<int64_t>(), 0);  // threads are on one machine
    group->all_reduce(rows_X2);
    group->all_reduce(got_E);
    EXPECT_EQ(rows_X2[group->rank()].item<int64_t>(), arrived);
    EXPECT_TRUE(at::equal(got_E, load_E));
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, Placements, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST(ExpertPlacement, HoldsOwnExpertsThenCopies) {
  const ExpertPlacement placement({{2}, {0, 2}, {2}, {1, 0, 2}}, 3);
  EXPECT_EQ(placement.held_by(0), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(placement.own_of(0), 1);
  EXPECT_EQ(placement.held_by(2), (std::vector<int64_t>{0, 2, 1, 3}));
  EXPECT_EQ(placement.own_of(2), 2);
  EXPECT_EQ(placement.row_of(1, 2), 2);
  EXPECT_EQ(placement.row_of(0, 1), -1);
  EXPECT_TRUE(placement.has_copies());
}

TEST(ExpertPlacement, RefusesWhatIsNone) {
  const auto message = [](Ranks ranks_E, int64_t ranks) {
    return message_of([&] { ExpertPlacement(std::move(ranks_E), ranks); });
  };
  EXPECT_PRED2(contains, message({{0}, {}}, 2), "a rank that holds expert 1, got none");
  EXPECT_PRED2(contains, message({{0}, {2}}, 2), "ranks of expert 1 in [0, 2), got 2");
  EXPECT_PRED2(contains, message({{-1}}, 2), "got -1");
  EXPECT_PRED2(contains, message({{1, 0, 1}}, 2), "got rank 1 twice");
}

TEST(ExpertSlots, RefuseAPlacementOfOthers) {
  const auto group = parallel::local();
  const auto message = [&](int64_t experts, int64_t ranks) {
    const auto placement = std::make_shared<const ExpertPlacement>(
        Ranks(static_cast<size_t>(experts), std::vector<int64_t>{0}), ranks);
    return message_of([&] {
      dispatch::dispatchers()
          .at("all_to_all")
          .make({.num_experts = kExperts, .group = group, .placement = placement}, {});
    });
  };
  EXPECT_PRED2(contains, message(kExperts + 1, 1), "expected a placement of 12 experts on 1 ranks");
  EXPECT_PRED2(contains, message(kExperts, 2), "got one of 12 on 2");
}

}  // namespace
}  // namespace moe::test::placements_test
