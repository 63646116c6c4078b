// Routers that load experts evenly by a rule over many tokens: base, sinkhorn, quantile,
// token_rounding. T tokens, D width, E experts, K choices per token, W ranks.
#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <tests/routing/naive.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>

#include <moe/layers/moe_layer.h>
#include <moe/parallel/threads.h>
#include <moe/routing/routers.h>
#include <moe/routing/sinkhorn.h>

namespace moe::routing::even_routers_test {

namespace {

using naive::Ids;
using naive::Row;
using naive::settings_of;
using test::experts_by_token;
using test::normal;

constexpr int64_t kTokens = 24, kWidth = 5, kExperts = 4;

LayerContext training(int64_t first_token = 0) {
  LayerContext context;
  context.training = true;
  context.tokens.first_token = first_token;
  return context;
}

/// Experts that draw all tokens, so that an even load is no accident.
Tensor skewed(int64_t tokens, uint64_t seed) {
  Tensor x_TD = normal({tokens, kWidth}, seed).to(at::kFloat);
  x_TD.select(1, 0).add_(2);
  return x_TD;
}

std::shared_ptr<Router> router_of(
    const std::string& kind, int64_t top_k, const Table& settings = {},
    std::shared_ptr<parallel::Communicator> group = parallel::local()) {
  return test::make_router(
      kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k, .group = std::move(group)},
      settings);
}

TEST(BaseRouterKind, SharesTrainingOutAndFollowsTheLogitsInEvaluation) {
  const auto router = router_of("base", 1);
  const Tensor x_TD = skewed(kTokens, 1);
  const Routing trained = router->forward(x_TD, training());
  EXPECT_TRUE(trained.counts_E().eq(kTokens / kExperts).all().item<bool>());
  const Routing evaluated = router->forward(x_TD, {});
  EXPECT_GT(evaluated.counts_E().max().item<int64_t>(), kTokens / kExperts);
  const auto logits = naive::linear_logits(*router, x_TD);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row& row = logits[static_cast<size_t>(t)];
    EXPECT_EQ(experts_by_token(evaluated)[static_cast<size_t>(t)], naive::best(row, 1));
    const auto mine = experts_by_token(trained)[static_cast<size_t>(t)];
    naive::expect_row(test::weights_of(trained, t),
                      {1 / (1 + std::exp(-naive::at_ids(row, mine)[0]))}, 1e-6);
  }
}

TEST(BaseRouterKind, RefusesWhatItCannotBe) {
  EXPECT_ERROR(routers().at("base").make({.d_model = 2, .num_experts = 4, .top_k = 2}, {}),
               "expected top_k = 1, got 2");
  EXPECT_ERROR(router_of("base", 1, settings_of({{"epsilon", 0.0}})), "epsilon in (0, 1], got 0");
  EXPECT_ERROR(router_of("base", 1, settings_of({{"group", "all"}})), "one of sequence, batch");
  MoELayerOptions options{.d_model = 4, .num_experts = 4, .top_k = 1};
  options.router = BaseRouter{};
  options.capacity.factor = 1;
  EXPECT_ERROR(MoELayer{options}, "expected no capacity with router.kind = \"base\"");
}

/// Every rank's own tokens through a router of the whole group; the experts of all.
Tensor experts_on_ranks(const std::string& kind, int64_t top_k, const Tensor& x_TD, int64_t ranks) {
  std::vector<Tensor> parts(static_cast<size_t>(ranks));
  parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    const auto router = router_of(kind, top_k, settings_of({{"group", "batch"}}), group);
    const int64_t share = x_TD.size(0) / ranks, first = group->rank() * share;
    const int64_t count = group->rank() + 1 == ranks ? x_TD.size(0) - first : share;
    const Routing routing = router->forward(x_TD.narrow(0, first, count), training(first));
    // Pairs of a token and an expert, whatever their order.
    parts[static_cast<size_t>(group->rank())] =
        std::get<0>(((routing.tokens_N() + first) * kExperts + routing.experts_N).sort());
  });
  return at::cat(parts);
}

TEST(EvenRouters, AreTheSameOnAnyNumberOfRanks) {
  const Tensor x_TD = skewed(26, 2);
  for (const auto& [kind, top_k] : {std::pair<const char*, int64_t>{"base", 1},
                                    {"sinkhorn", 1},
                                    {"sinkhorn", 2},
                                    {"token_rounding", 2}}) {
    SCOPED_TRACE(kind);
    const Tensor one = experts_on_ranks(kind, top_k, x_TD, 1);
    for (const int64_t ranks : {2, 4})
      EXPECT_TRUE(at::equal(experts_on_ranks(kind, top_k, x_TD, ranks), one)) << ranks << " ranks";
  }
}

/// exp(l) with its rows and columns scaled in turn until their sums are even, as the papers write
/// it.
std::vector<Row> naive_plan(const std::vector<Row>& logits) {
  const size_t T = logits.size(), E = logits[0].size();
  Row d0(T, 1), d1(E, 1);
  for (int i = 0; i < 2000; ++i) {
    for (size_t t = 0; t < T; ++t) {
      double sum = 0;
      for (size_t e = 0; e < E; ++e) sum += std::exp(logits[t][e]) * d1[e];
      d0[t] = 1 / (static_cast<double>(T) * sum);
    }
    for (size_t e = 0; e < E; ++e) {
      double sum = 0;
      for (size_t t = 0; t < T; ++t) sum += std::exp(logits[t][e]) * d0[t];
      d1[e] = 1 / (static_cast<double>(E) * sum);
    }
  }
  std::vector<Row> plan = logits;
  for (size_t t = 0; t < T; ++t)
    for (size_t e = 0; e < E; ++e) plan[t][e] = d0[t] * std::exp(logits[t][e]) * d1[e];
  return plan;
}

TEST(SinkhornRouterKind, ChoosesByTheNaivePlanAndWeighsByTheLogits) {
  for (const int64_t K : {1, 2}) {
    const auto router =
        router_of("sinkhorn", K, settings_of({{"iterations", 2000}, {"tolerance", 0.0}}));
    const Tensor x_TD = skewed(kTokens, 3);
    const Routing routing = router->forward(x_TD, training());
    const auto logits = naive::linear_logits(*router, x_TD);
    const auto plan = naive_plan(logits);
    for (int64_t t = 0; t < kTokens; ++t) {
      const auto row = static_cast<size_t>(t);
      const Ids chosen = naive::best(plan[row], static_cast<size_t>(K));
      Row weights = naive::at_ids(naive::softmax(logits[row]), chosen);
      if (K == 1) weights = {1 / (1 + std::exp(-logits[row][static_cast<size_t>(chosen[0])]))};
      EXPECT_EQ(experts_by_token(routing)[row], chosen);
      naive::expect_row(test::weights_of(routing, t), weights, 1e-6);
    }
    const Routing plain = router->forward(x_TD, {});
    EXPECT_LT(routing.counts_E().max().item<int64_t>(), plain.counts_E().max().item<int64_t>());
    for (int64_t t = 0; t < kTokens; ++t)
      EXPECT_EQ(experts_by_token(plain)[static_cast<size_t>(t)],
                naive::best(logits[static_cast<size_t>(t)], static_cast<size_t>(K)));
  }
}

TEST(SinkhornPotentials, StayFiniteForHugeLogitsAndSkipNan) {
  for (const double scale : {0.0, 1e4, 1e30}) {
    Tensor l_TE = (normal({300, 6}, 4) * scale).to(at::kFloat).contiguous();
    l_TE.select(1, 2).sub_(scale);  // nobody's best
    for (const float g : sinkhorn_potentials(l_TE.const_data_ptr<float>(), 300, 6, {}, nullptr))
      EXPECT_TRUE(std::isfinite(g)) << scale;
  }
  const Tensor known_TE = normal({20, 3}, 5).to(at::kFloat).contiguous();
  Tensor with_nan_TE = at::cat({known_TE, known_TE.slice(0, 0, 1) * NAN}).contiguous();
  const auto known = sinkhorn_potentials(known_TE.const_data_ptr<float>(), 20, 3, {}, nullptr);
  EXPECT_EQ(sinkhorn_potentials(with_nan_TE.const_data_ptr<float>(), 21, 3, {}, nullptr), known);
  EXPECT_EQ(sinkhorn_potentials(known_TE.const_data_ptr<float>(), 0, 3, {}, nullptr),
            (std::vector<float>{0, 0, 0}));
}

TEST(SinkhornPotentials, MakeTheColumnsOfThePlanEven) {
  constexpr int64_t T = 400, E = 7;
  const Tensor l_TE = (normal({T, E}, 6) * 3).to(at::kFloat).contiguous();
  const auto g = sinkhorn_potentials(l_TE.const_data_ptr<float>(), T, E,
                                     {.iterations = 500, .tolerance = 0}, nullptr);
  Row sums(E, 0);
  for (const Row& l : naive::rows_of(l_TE)) {
    Row shifted = l;
    for (size_t e = 0; e < E; ++e) shifted[e] += g[e];
    const Row share = naive::softmax(shifted);
    for (size_t e = 0; e < E; ++e) sums[e] += share[e] / T;
  }
  for (const double sum : sums) EXPECT_NEAR(sum, 1.0 / E, 1e-5);
}

TEST(SinkhornRouterKind, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(router_of("sinkhorn", 1, settings_of({{"iterations", 0}})), "got 0");
  EXPECT_ERROR(router_of("sinkhorn", 1, settings_of({{"tolerance", -1.0}})), "at least 0, got -1");
  EXPECT_ERROR(router_of("sinkhorn", 1, settings_of({{"weight", "soft"}})),
               "one of auto, softmax, sigmoid, got 'soft'");
}

/// The bias that loads these tokens evenly if nothing else moved, by sorting.
Row naive_bias(const std::vector<Row>& scores, const Row& bias, size_t K) {
  const size_t T = scores.size(), E = bias.size();
  Row alpha, out;
  for (const Row& s : scores) {
    Row biased = s;
    for (size_t e = 0; e < E; ++e) biased[e] += bias[e];
    std::sort(biased.begin(), biased.end(), std::greater<>());
    alpha.push_back(biased[K]);
  }
  for (size_t e = 0; e < E; ++e) {
    Row margins;
    for (size_t t = 0; t < T; ++t) margins.push_back(scores[t][e] - alpha[t]);
    std::sort(margins.begin(), margins.end(), std::greater<>());
    out.push_back(-margins[T * K / E]);
  }
  return out;
}

TEST(QuantileRouterKind, MovesItsBiasToTheNaiveQuantile) {
  for (const std::string score : {"sigmoid", "softmax"})
    for (const double decay : {0.0, 0.75}) {
      const auto router =
          router_of("quantile", 2, settings_of({{"score", score}, {"decay", decay}}));
      Row bias(kExperts, 0);
      for (int64_t step = 0; step < 3; ++step) {
        const Tensor x_TD = skewed(kTokens, 20 + static_cast<uint64_t>(step));
        std::vector<Row> scores = naive::linear_logits(*router, x_TD);
        for (Row& row : scores) {
          if (score == "softmax")
            row = naive::softmax(row);
          else
            for (double& v : row) v = 1 / (1 + std::exp(-v));
        }
        const Routing routing = router->forward(x_TD, training());
        // Two micro-batches that are the same have the same mean.
        router->end_step({.counts_E = routing.counts_E(), .record_R = routing.record_R * 2});
        const Row found = naive_bias(scores, bias, 2);
        for (size_t e = 0; e < bias.size(); ++e) bias[e] = decay * bias[e] + (1 - decay) * found[e];
        naive::expect_row(naive::state_of(*router, "selection_bias"), bias, 1e-6);
      }
    }
}

TEST(QuantileRouterKind, LeavesTheNumberOfExpertsFree) {
  const auto router = router_of("quantile", 2, settings_of({{"choose", "any"}, {"scale", 3.0}}));
  const Tensor x_TD = skewed(kTokens, 33);
  const Routing first = router->forward(x_TD, training());
  EXPECT_EQ(first.pairs(), kTokens * kExperts);  // sigmoids are above 0
  router->end_step({.counts_E = {}, .record_R = first.record_R});
  const Routing routing = router->forward(x_TD, {});
  // The same tokens again: each expert gets exactly its share of T K / E.
  EXPECT_TRUE(routing.counts_E().eq(kTokens * 2 / kExperts).all().item<bool>());
  EXPECT_EQ(routing.choices, 0);
  const auto logits = naive::linear_logits(*router, x_TD);
  const Tensor bias_E = naive::state_of(*router, "selection_bias");
  for (size_t t = 0; t < kTokens; ++t) {
    Ids experts;
    Row weights;
    double sum = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
      const double s = 1 / (1 + std::exp(-logits[t][static_cast<size_t>(e)]));
      if (s + bias_E[e].item<double>() <= 1e-7) continue;
      experts.push_back(e);
      weights.push_back(3 * s);
      sum += s;
    }
    for (double& w : weights) w /= sum;
    EXPECT_EQ(experts_by_token(routing)[t], experts);
    naive::expect_row(test::weights_of(routing, static_cast<int64_t>(t)), weights, 1e-6);
  }
}

TEST(QuantileRouterKind, EvensTheLoadOfTheTokensItSaw) {
  const auto router = router_of("quantile", 1, settings_of({{"renormalise", false}}));
  const Tensor x_TD = skewed(400, 30);
  const auto busiest = [&] { return router->forward(x_TD, {}).counts_E().max().item<int64_t>(); };
  const int64_t before = busiest();
  for (int i = 0; i < 20; ++i)
    router->end_step({.counts_E = {}, .record_R = router->forward(x_TD, training()).record_R});
  EXPECT_GT(before, 160);
  EXPECT_LT(busiest(), 110);
}

TEST(QuantileRouterKind, RecordsTheSameOnAnyNumberOfRanksAndNothingOfNan) {
  const Tensor x_TD = skewed(26, 31);
  const auto record_on = [&](int64_t ranks) {
    Tensor sum;
    std::mutex mutex;
    parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
      const auto router = router_of("quantile", 2, {}, group);
      const int64_t share = 26 / ranks, first = group->rank() * share;
      const int64_t count = group->rank() + 1 == ranks ? 26 - first : share;
      const Tensor mine = router->forward(x_TD.narrow(0, first, count), training(first)).record_R;
      const std::lock_guard<std::mutex> lock(mutex);
      sum = sum.defined() ? sum + mine : mine;
    });
    return sum;
  };
  const Tensor one = record_on(1);
  EXPECT_EQ(one[kExperts].item<double>(), 1);
  for (const int64_t ranks : {2, 4}) EXPECT_TRUE(at::equal(record_on(ranks), one));
  const auto router = router_of("quantile", 2);
  EXPECT_TRUE(at::equal(
      router->forward(at::cat({x_TD, x_TD.slice(0, 0, 2) * NAN}), training()).record_R, one));
  EXPECT_TRUE(router->forward(x_TD * NAN, training()).record_R.eq(0).all().item<bool>());
  EXPECT_ERROR(router->end_step({.counts_E = {}}), "Set StepStatistics::record_R");
}

TEST(TokenRoundingRouterKind, AgreesWithItsNaiveTwin) {
  constexpr int64_t K = 2;
  for (const int64_t tile : {1, 4, 5, 16})
    for (const std::string rounding : {"nearest", "up", "down"}) {
      SCOPED_TRACE(concat("tile ", tile, ' ', rounding));
      const auto router =
          router_of("token_rounding", K, settings_of({{"tile", tile}, {"rounding", rounding}}));
      const Tensor x_TD = skewed(kTokens, 40);
      const Routing routing = router->forward(x_TD, training());
      const auto logits = naive::linear_logits(*router, x_TD);
      std::vector<std::vector<std::pair<double, int64_t>>> wanted(kExperts), others(kExperts);
      std::vector<Row> weight(kTokens, Row(kExperts));
      for (size_t t = 0; t < kTokens; ++t) {
        const Row p = naive::softmax(logits[t]);
        const Ids chosen = naive::best(p, K);
        const double sum = p[static_cast<size_t>(chosen[0])] + p[static_cast<size_t>(chosen[1])];
        for (size_t e = 0; e < kExperts; ++e) {
          const bool mine = std::count(chosen.begin(), chosen.end(), e) > 0;
          weight[t][e] = mine ? p[e] / sum : p[e];
          (mine ? wanted : others)[e].emplace_back(-weight[t][e], t);
        }
      }
      std::vector<Ids> experts(kTokens);
      for (size_t e = 0; e < kExperts; ++e) {
        std::sort(wanted[e].begin(), wanted[e].end());
        std::sort(others[e].begin(), others[e].end());
        const double tiles = static_cast<double>(wanted[e].size()) / static_cast<double>(tile);
        const double whole = rounding == "up"     ? std::ceil(tiles)
                             : rounding == "down" ? std::floor(tiles)
                                                  : std::floor(tiles + 0.5);
        wanted[e].insert(wanted[e].end(), others[e].begin(), others[e].end());
        const auto keeps = std::min<size_t>(kTokens, static_cast<size_t>(whole) * tile);
        for (size_t i = 0; i < keeps; ++i)
          experts[static_cast<size_t>(wanted[e][i].second)].push_back(static_cast<int64_t>(e));
      }
      for (size_t t = 0; t < kTokens; ++t) {
        EXPECT_EQ(experts_by_token(routing)[t], experts[t]);
        naive::expect_row(test::weights_of(routing, static_cast<int64_t>(t)),
                          naive::at_ids(weight[t], experts[t]), 1e-6);
      }
      EXPECT_EQ(router->forward(x_TD, {}).choices, K);
    }
}

TEST(TokenRoundingRouterKind, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(router_of("token_rounding", 1, settings_of({{"tile", 0}})), "tile in [1, 65536]");
  EXPECT_ERROR(router_of("token_rounding", 1, settings_of({{"rounding", "upp"}})), "Did you mean");
  EXPECT_ERROR(router_of("quantile", 1, settings_of({{"decay", 1.0}})), "decay in [0, 1), got 1");
}

}  // namespace

}  // namespace moe::routing::even_routers_test
