// The GShard router against loops. T tokens, D width, E experts, K choices per token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

namespace moe::routing::gshard_test {

namespace {

using moe::test::experts_by_token;
using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 40, kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings) {
  return naive::make("gshard", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k},
                     settings);
}

TEST(GShardRouter, AgreesWithItsNaiveTwinForEveryPolicy) {
  constexpr double kThreshold = 0.4;
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const int64_t K : {1, 2, 3})
    for (const std::string second : {"all", "none", "threshold", "random"})
      for (const bool training : {true, false}) {
        SCOPED_TRACE(concat("K=", K, ' ', second, training ? " training" : " evaluation"));
        const auto router = make(K, settings_of({{"second", second}, {"threshold", kThreshold}}));
        const LayerContext context{
            {.training = training, .random = {.seed = 5, .step = 2, .layer = 1}},
            {.first_token = 100}};
        const Routing routing = router->forward(x_TD, context);
        const RandomStream stream(context.random, Purpose::kRouting);
        const std::string policy = second == "random" && !training ? "all" : second;
        EXPECT_EQ(routing.choices, policy == "all" ? K : policy == "none" ? 1 : 0);
        const auto logits = naive::linear_logits(*router, x_TD);
        int64_t left_out = 0;
        for (int64_t t = 0; t < kTokens; ++t) {
          const Row p = naive::softmax(logits[static_cast<size_t>(t)]);
          const Ids ids = naive::best(p, static_cast<size_t>(K));
          const Row g = naive::divided_by_sum(naive::at_ids(p, ids));
          Ids kept;
          Row weights;
          for (size_t j = 0; j < ids.size(); ++j) {
            const auto number = static_cast<uint64_t>((100 + t) * K) + j;
            const bool keep = j == 0 || policy == "all" ||
                              (policy == "threshold" && g[j] > kThreshold) ||
                              (policy == "random" &&
                               static_cast<double>(stream.uniform(number)) < g[j] / kThreshold);
            if (keep) {
              kept.push_back(ids[j]);
              weights.push_back(g[j]);
            } else {
              ++left_out;
            }
          }
          naive::expect_pairs(routing, t, kept, weights);
          naive::expect_row(routing.scores_TE[t], p);
          naive::expect_row(routing.logits_TE[t], logits[static_cast<size_t>(t)]);
        }
        if (K > 1) {
          EXPECT_EQ(left_out > 0, policy != "all");
          // Of more than two renormalised weights hardly a later one passes the threshold.
          if (K == 2 || policy != "threshold") {
            EXPECT_EQ(left_out < (K - 1) * kTokens, policy != "none");
          }
        }
      }
}

TEST(GShardRouter, KeepsTheSecondExpertAsOftenAsItsWeightSays) {
  constexpr int64_t T = 20000;
  const Tensor x_TD = normal({1, kWidth}, 3).expand({T, kWidth});
  const auto second_weight = [&] {
    const auto router = make(2, {});
    const Row p = naive::softmax(naive::linear_logits(*router, x_TD.slice(0, 0, 1))[0]);
    return naive::divided_by_sum(naive::at_ids(p, naive::best(p, 2)))[1];
  };
  const double g2 = second_weight();
  for (const double threshold : {1.0, 0.75, g2 * 0.9}) {
    const auto router = make(2, settings_of({{"threshold", threshold}}));
    const Routing routing = router->forward(x_TD, {{.training = true, .random = {.seed = 11}}});
    const double probability = std::min(1.0, g2 / threshold);
    const double found = static_cast<double>(routing.pairs() - T) / T;
    EXPECT_NEAR(found, probability, 5 * std::sqrt(probability * (1 - probability) / T) + 1e-12)
        << threshold;
  }
}

TEST(GShardRouter, DrawsByGlobalTokenNumberSeedAndStep) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make(3, settings_of({{"threshold", 1.0}}));
  const auto choose = [&](int64_t first, int64_t begin, uint64_t seed, uint64_t step) {
    return experts_by_token(router->forward(
        x_TD.slice(0, begin),
        {{.training = true, .random = {.seed = seed, .step = step}}, {.first_token = first}}));
  };
  const auto all = choose(50, 0, 1, 1);
  const auto part = choose(67, 17, 1, 1);
  EXPECT_EQ(part, (std::vector<Ids>(all.begin() + 17, all.end())));
  EXPECT_NE(choose(50, 0, 2, 1), all);
  EXPECT_NE(choose(50, 0, 1, 2), all);
  EXPECT_NE(choose(51, 0, 1, 1), all);
}

TEST(GShardRouter, EvaluationDrawsNothingAndMayHaveAPolicyOfItsOwn) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto evaluate = [&](const std::string& second, const std::string& second_eval) {
    const auto router = make(
        2, settings_of({{"second", second}, {"second_eval", second_eval}, {"threshold", 0.4}}));
    const Routing a = router->forward(x_TD, {{.random = {.seed = 1}}});
    const Routing b = router->forward(x_TD, {{.random = {.seed = 2}}});
    EXPECT_TRUE(at::equal(a.experts_N, b.experts_N));
    return a.pairs();
  };
  const int64_t above = evaluate("threshold", "same");
  EXPECT_GT(above, kTokens);
  EXPECT_LT(above, 2 * kTokens);
  EXPECT_EQ(evaluate("random", "same"), 2 * kTokens);
  EXPECT_EQ(evaluate("random", "threshold"), above);
  EXPECT_EQ(evaluate("random", "none"), kTokens);
  EXPECT_EQ(evaluate("none", "same"), kTokens);
  EXPECT_EQ(evaluate("none", "all"), 2 * kTokens);
}

TEST(GShardRouter, GradientsOfRaggedChoicesAgreeWithCentralDifferences) {
  const auto router = make(3, settings_of({{"second", "threshold"}, {"threshold", 0.3}}));
  const LayerContext context{{.training = true}};
  const Tensor x_TD = normal({6, kWidth}, 1);
  EXPECT_LT(router->forward(x_TD, context).pairs(), 18);
  std::vector<Tensor> inputs = {x_TD};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  test::expect_gradients([&](const auto& in) { return router->forward(in[0], context).weights_N; },
                         inputs);
}

TEST(GShardRouter, SaysHowManyExpertsWorkForATokenAtMost) {
  EXPECT_EQ(make(2, {})->active_experts(), 2);
  EXPECT_EQ(make(2, settings_of({{"second", "none"}}))->active_experts(), 1);
}

TEST(GShardRouter, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(make(2, settings_of({{"second", "rando"}})), "Did you mean 'random'?");
  EXPECT_ERROR(make(2, settings_of({{"second_eval", "random"}})), "second_eval");
  EXPECT_ERROR(make(2, settings_of({{"threshold", 0.0}})), "expected threshold in (0, 1], got 0");
  EXPECT_ERROR(make(2, settings_of({{"threshold", 1.5}})), "expected threshold in (0, 1], got 1.5");
}

}  // namespace

}  // namespace moe::routing::gshard_test
