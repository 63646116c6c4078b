// The learned routers against naive twins. T tokens, D width, E experts, K choices per token.
#include <algorithm>
#include <cmath>
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/allclose.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace moe::routing::router_kinds_test {

namespace {

using moe::test::experts_by_token;
using moe::test::normal;

using naive::by_value;
using naive::expect_pairs;
using naive::Row;
using naive::settings_of;
using naive::softmax;
using naive::state_of;

constexpr int64_t kTokens = 8, kWidth = 5, kExperts = 4;

std::shared_ptr<Router> make(const std::string& kind, int64_t top_k, const Table& settings = {}) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
}

TEST(TopKRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& rule : naive::selection_rules(2.5))
    for (const bool bias : {true, false}) {
      const auto router = make("topk", 2,
                               settings_of({{"renormalise", rule.renormalise},
                                            {"softmax", rule.softmax},
                                            {"bias", bias},
                                            {"temperature", 0.7},
                                            {"scale", rule.scale}}));
      if (bias) {
        const at::NoGradGuard no_grad;
        state_of(*router, "bias").copy_(normal({kExperts}, 9));
      }
      const Routing routing = router->forward(x_TD, {});
      const auto logits = naive::linear_logits(*router, x_TD);
      for (int64_t t = 0; t < kTokens; ++t) {
        Row scaled = logits[static_cast<size_t>(t)];
        naive::expect_row(routing.logits_TE[t], scaled);
        for (double& l : scaled) l /= 0.7;
        naive::expect_softmax_rule(routing, t, scaled, 2, rule);
      }
    }
}

TEST(TopKRouter, TemperatureFollowsTheStepInTrainingAndEndsInEvaluation) {
  const auto scheduled = make(
      "topk", 2,
      settings_of({{"temperature", 4.0}, {"temperature_end", 2.0}, {"temperature_steps", 10}}));
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto expect_temperature = [&](const LayerContext& context, double temperature) {
    const Routing expected =
        make("topk", 2, settings_of({{"temperature", temperature}}))->forward(x_TD, {});
    EXPECT_TRUE(at::allclose(scheduled->forward(x_TD, context).weights_N, expected.weights_N))
        << temperature;
  };
  expect_temperature({{.training = true, .random = {.step = 0}}}, 4);
  expect_temperature({{.training = true, .random = {.step = 5}}}, 3);
  expect_temperature({{.training = true, .random = {.step = 10}}}, 2);
  expect_temperature({{.training = true, .random = {.step = 1000}}}, 2);
  expect_temperature({{.training = false, .random = {.step = 0}}}, 2);
}

TEST(TopKRouter, WarnsWhenRenormalisingOneChoiceStopsItsGradient) {
  const auto warning_of = [](int64_t top_k, const Table& settings) {
    ::testing::internal::CaptureStderr();
    make("topk", top_k, settings);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(warning_of(1, {}).find("cannot train the router"), std::string::npos);
  EXPECT_NE(warning_of(1, settings_of({{"renormalise", false}, {"softmax", "after"}})), "");
  EXPECT_EQ(warning_of(1, settings_of({{"renormalise", false}})), "");
  EXPECT_EQ(warning_of(2, {}), "");
}

TEST(TopKRouter, SaysWhereTheWeightMultiplies) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const char* kind : {"topk", "sigmoid"}) {
    EXPECT_FALSE(make(kind, 2)->forward(x_TD, {}).weight_on_input);
    EXPECT_TRUE(
        make(kind, 2, settings_of({{"weight_on", "input"}}))->forward(x_TD, {}).weight_on_input);
  }
}

TEST(TopKRouter, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(make("topk", 2, settings_of({{"softmax", "befor"}})), "Did you mean 'before'?");
  EXPECT_ERROR(make("topk", 2, settings_of({{"temperature", 0}})), "expected temperatures above 0");
  EXPECT_ERROR(make("topk", 2, settings_of({{"temperature_end", 2}})), "Say how many steps");
  EXPECT_ERROR(make("topk", 2, settings_of({{"weight_on", "both"}})), "weight_on");
}

TEST(LinearRouter, RefusesInputsOfAnotherShapeOrType) {
  const auto router = make("topk", 2);
  EXPECT_ERROR(router->forward(at::zeros({2, kWidth + 1}), {}), "d_model=5");
  EXPECT_ERROR(router->forward(at::zeros({2, 3, kWidth}), {}), "Flatten batch and sequence");
  EXPECT_ERROR(router->forward(at::zeros({2, kWidth}, at::kLong), {}), "floating input");
}

TEST(SwitchRouter, WeighsTheBestExpertWithItsProbability) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make("switch", 1);
  const Routing routing = router->forward(x_TD, {{.training = true}});
  const auto logits = naive::linear_logits(*router, x_TD);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row p = softmax(logits[static_cast<size_t>(t)]);
    const int64_t best = by_value(p)[0];
    expect_pairs(routing, t, {best}, {p[static_cast<size_t>(best)]});
  }
  EXPECT_ERROR(make("switch", 2), "expected top_k = 1, got 2");
}

TEST(SwitchRouter, JitterScalesTheInputByTheNumbersOfEachTokenInTrainingOnly) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make("switch", 1, settings_of({{"jitter", 0.1}}));
  const LayerContext context{{.training = true, .random = {.seed = 5, .step = 2, .layer = 1}},
                             {.first_token = 100}};
  const RandomStream stream(context.random, Purpose::kRouterNoise);
  Tensor jittered_TD = x_TD.clone();
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t d = 0; d < kWidth; ++d) {
      const auto index = static_cast<uint64_t>((100 + t) * kWidth + d);
      jittered_TD[t][d] *= 0.9 + 0.2 * static_cast<double>(stream.uniform(index));
    }
  const auto plain = make("switch", 1);
  EXPECT_TRUE(at::allclose(router->forward(x_TD, context).logits_TE,
                           plain->forward(jittered_TD, {}).logits_TE));
  EXPECT_TRUE(at::equal(router->forward(x_TD, {}).logits_TE, plain->forward(x_TD, {}).logits_TE));
  LayerContext later = context;
  later.random.step = 3;
  EXPECT_FALSE(at::allclose(router->forward(x_TD, context).logits_TE,
                            router->forward(x_TD, later).logits_TE));
}

/// Whether expert e takes token t of groups of the given lengths, by loops.
std::vector<std::vector<bool>> naive_expert_choice(const std::vector<Row>& p,
                                                   const std::vector<int64_t>& lengths,
                                                   const std::function<double(double)>& capacity) {
  std::vector<std::vector<bool>> chosen(p.size(), std::vector<bool>(kExperts));
  size_t begin = 0;
  for (const int64_t length : lengths) {
    for (size_t e = 0; e < kExperts; ++e) {
      std::vector<size_t> tokens(static_cast<size_t>(length));
      std::iota(tokens.begin(), tokens.end(), begin);
      std::stable_sort(tokens.begin(), tokens.end(),
                       [&](size_t a, size_t b) { return p[a][e] > p[b][e]; });
      const auto limit = static_cast<size_t>(capacity(static_cast<double>(length)));
      for (size_t i = 0; i < std::min(limit, tokens.size()); ++i) chosen[tokens[i]][e] = true;
    }
    begin += static_cast<size_t>(length);
  }
  return chosen;
}

TEST(ExpertChoiceRouter, AgreesWithItsNaiveTwinAlsoWhereRowsHaveDifferentLengths) {
  const Tensor x_TD = normal({kTokens, kWidth}, 3);
  for (const std::string rounding : {"ceil", "floor", "nearest"})
    for (const std::string group : {"sequence", "batch"})
      for (const std::vector<int64_t>& lengths :
           {std::vector<int64_t>{4, 4}, {1, 5, 2}, {0, 3, 0, 5}, {kTokens}}) {
        const auto router =
            make("expert_choice", 2,
                 settings_of({{"capacity_factor", 1.3}, {"group", group}, {"rounding", rounding}}));
        const Routing routing =
            router->forward(x_TD, {{}, {.sequences = Sequences::of_lengths(lengths)}});
        std::vector<Row> p;
        for (const Row& row : naive::linear_logits(*router, x_TD)) p.push_back(softmax(row));
        const auto groups = group == "sequence" ? lengths : std::vector<int64_t>{kTokens};
        const auto chosen = naive_expert_choice(p, groups, [&](double n) {
          const double exact = n * 1.3 / kExperts;
          return rounding == "ceil"    ? std::ceil(exact)
                 : rounding == "floor" ? std::floor(exact)
                                       : std::round(exact);
        });
        for (int64_t t = 0; t < kTokens; ++t) {
          std::vector<int64_t> experts;
          Row weights;
          for (int64_t e = 0; e < kExperts; ++e)
            if (chosen[static_cast<size_t>(t)][static_cast<size_t>(e)]) {
              experts.push_back(e);
              weights.push_back(p[static_cast<size_t>(t)][static_cast<size_t>(e)]);
            }
          expect_pairs(routing, t, experts, weights);
        }
      }
}

TEST(ExpertChoiceRouter, GivesEveryExpertTheSameLoadAndTiesToEarlierTokens) {
  const auto router = make("expert_choice", 2);
  const Routing routing = router->forward(normal({kTokens, kWidth}, 1), {});
  for (int64_t e = 0; e < kExperts; ++e) EXPECT_EQ(routing.counts_E()[e].item<int64_t>(), 4);
  const auto tied = experts_by_token(router->forward(at::zeros({kTokens, kWidth}), {}));
  for (size_t t = 0; t < kTokens; ++t) EXPECT_EQ(tied[t].size(), t < 4 ? 4 : 0);
}

TEST(ExpertChoiceRouter, RefusesCausalModelsAndPartialSequences) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  EXPECT_ERROR(make("expert_choice", 2)->forward(x_TD, {{.causal = true}}), "allow_future = true");
  const auto allowed = make("expert_choice", 2, settings_of({{"allow_future", true}}));
  EXPECT_EQ(allowed->forward(x_TD, {{.causal = true}}).pairs(), 2 * kTokens);
  EXPECT_ERROR(allowed->forward(x_TD, {{}, {.sequences = Sequences::equal(2, 3)}}),
               "expected sequences of 8 tokens in all");
}

TEST(DenseRouter, UsesEveryExpertWithItsProbability) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make("dense", 1);
  const Routing routing = router->forward(x_TD, {});
  EXPECT_EQ(routing.choices, kExperts);
  const auto logits = naive::linear_logits(*router, x_TD);
  for (int64_t t = 0; t < kTokens; ++t)
    expect_pairs(routing, t, {0, 1, 2, 3}, softmax(logits[static_cast<size_t>(t)]));
}

TEST(SigmoidRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const bool renormalise : {true, false}) {
    const auto router =
        make("sigmoid", 2, settings_of({{"renormalise", renormalise}, {"scale", 1.5}}));
    const Row bias = {0.3, -0.2, 0.0, 0.4};
    state_of(*router, "selection_bias").copy_(at::tensor(bias, at::kDouble));
    const Routing routing = router->forward(x_TD, {});
    const auto logits = naive::linear_logits(*router, x_TD);
    for (int64_t t = 0; t < kTokens; ++t) {
      Row s, biased;
      for (size_t e = 0; e < kExperts; ++e) {
        s.push_back(1 / (1 + std::exp(-logits[static_cast<size_t>(t)][e])));
        biased.push_back(s[e] + bias[e]);
      }
      const auto order = by_value(biased);
      const double s0 = s[static_cast<size_t>(order[0])], s1 = s[static_cast<size_t>(order[1])];
      const double sum = renormalise ? s0 + s1 + 1e-20 : 1;
      expect_pairs(routing, t, {order[0], order[1]}, {1.5 * s0 / sum, 1.5 * s1 / sum});
    }
  }
}

TEST(SigmoidRouter, SelectionBiasIsABufferThatMovesByItsRateAfterAStepOnly) {
  const auto router =
      test::make_router("sigmoid", {.d_model = kWidth, .num_experts = kExperts, .top_k = 2},
                        settings_of({{"bias_rate", 0.25}}));
  const Tensor bias_E = state_of(*router, "selection_bias");
  EXPECT_EQ(bias_E.scalar_type(), at::kFloat);
  EXPECT_FALSE(bias_E.requires_grad());
  router->end_step({.counts_E = at::tensor({1, 9, 5, 5}, at::kLong), .step = 0});
  EXPECT_TRUE(at::equal(bias_E, at::tensor({0.25f, -0.25f, 0.f, 0.f})));
  router->end_step({.counts_E = at::tensor({0, 0, 0, 1}, at::kLong), .step = 1});
  EXPECT_TRUE(at::equal(bias_E, at::tensor({0.5f, 0.f, 0.25f, -0.25f})));
  EXPECT_ERROR(router->end_step({.counts_E = at::zeros({3}, at::kLong), .step = 2}),
               "each of 4 experts");
}

}  // namespace

}  // namespace moe::routing::router_kinds_test
