// The MLP router against loops. T tokens, D width, H hidden units, E experts, K choices per
// token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

namespace moe::routing::mlp_router_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kTokens = 12, kWidth = 5, kHidden = 7, kExperts = 6;

std::shared_ptr<Router> make(int64_t top_k, Table settings = {}) {
  if (!settings.find("hidden")) settings.set("hidden", kHidden);
  auto router =
      naive::make("mlp", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
  test::randomise(*router, 3, 0.7);
  return router;
}

std::vector<Row> naive_logits(Router& router, const Tensor& x_TD) {
  auto hidden = naive::linear(naive::rows_of(x_TD), state_of(router, "hidden.w_in"),
                              state_of(router, "hidden.b_in"));
  for (Row& row : hidden)
    for (double& h : row) h = std::max(h, 0.0);
  return naive::linear(hidden, state_of(router, "weight"), state_of(router, "bias"));
}

TEST(MlpRouter, AgreesWithItsNaiveTwinForEverySelectionRule) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& rule : naive::selection_rules(2.5)) {
    const auto router = make(2, settings_of({{"renormalise", rule.renormalise},
                                             {"softmax", rule.softmax},
                                             {"scale", rule.scale},
                                             {"temperature", 0.7},
                                             {"weight_on", "input"}}));
    const Routing routing = router->forward(x_TD, {});
    EXPECT_TRUE(routing.weight_on_input);
    const auto logits = naive_logits(*router, x_TD);
    for (int64_t t = 0; t < kTokens; ++t) {
      Row scaled = logits[static_cast<size_t>(t)];
      naive::expect_row(routing.logits_TE[t], scaled);
      for (double& l : scaled) l /= 0.7;
      naive::expect_softmax_rule(routing, t, scaled, 2, rule);
    }
  }
}

TEST(MlpRouter, DropoutFallsOnTheLogitsInTrainingOnly) {
  constexpr double kDropout = 0.3;
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make(2, settings_of({{"dropout", kDropout}}));
  LayerContext context{{.training = true, .random = {.seed = 5, .step = 2, .layer = 1}},
                       {.first_token = 100}};
  const RandomStream stream(context.random, Purpose::kRouting);
  const auto logits = naive_logits(*router, x_TD);
  int64_t dropped = 0;
  for (const bool training : {true, false}) {
    context.training = training;
    const Routing routing = router->forward(x_TD, context);
    for (int64_t t = 0; t < kTokens; ++t) {
      Row l = logits[static_cast<size_t>(t)];
      for (size_t e = 0; e < l.size() && training; ++e) {
        // Two blocks of four numbers serve the six experts of a token.
        const auto word = stream.block(static_cast<uint64_t>(100 + t) * 2 + e / 4)[e % 4];
        const bool drop = static_cast<double>(word >> 8) * 0x1p-24 < kDropout;
        dropped += drop;
        l[e] = drop ? 0 : l[e] / (1 - kDropout);
      }
      const Ids ids = naive::best(l, 2);
      naive::expect_pairs(routing, t, ids, naive::softmax(naive::at_ids(l, ids)));
      naive::expect_row(routing.scores_TE[t], naive::softmax(l));
      naive::expect_row(routing.logits_TE[t], logits[static_cast<size_t>(t)]);
    }
  }
  EXPECT_GT(dropped, 0);
}

TEST(MlpRouter, HasTwoLayersOfTheAskedWidth) {
  const auto wide = make(2), usual = make(2, settings_of({{"hidden", 0}}));
  EXPECT_EQ(state_of(*wide, "hidden.w_in").sizes(), (std::vector<int64_t>{kHidden, kWidth}));
  EXPECT_EQ(state_of(*wide, "hidden.b_in").sizes(), (std::vector<int64_t>{kHidden}));
  EXPECT_EQ(state_of(*wide, "weight").sizes(), (std::vector<int64_t>{kExperts, kHidden}));
  EXPECT_EQ(state_of(*wide, "bias").sizes(), (std::vector<int64_t>{kExperts}));
  EXPECT_EQ(wide->parameters().size(), 4u);
  EXPECT_EQ(state_of(*usual, "weight").sizes(), (std::vector<int64_t>{kExperts, kWidth}));
}

TEST(MlpRouter, GradientsAgreeWithCentralDifferences) {
  const auto router = make(2, settings_of({{"dropout", 0.2}, {"temperature", 0.7}}));
  const LayerContext context{{.training = true, .random = {.seed = 5}}};
  std::vector<Tensor> inputs = {normal({4, kWidth}, 1)};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  test::expect_gradients([&](const auto& in) { return router->forward(in[0], context).weights_N; },
                         inputs);
}

TEST(MlpRouter, RefusesSettingsAndInputsThatMeanNothing) {
  EXPECT_ERROR(make(2, settings_of({{"hidden", -1}})), "expected hidden >= 0, got -1");
  EXPECT_ERROR(make(2, settings_of({{"dropout", 1.0}})), "expected dropout in [0, 1), got 1");
  EXPECT_ERROR(make(2, settings_of({{"temperature", 0}})), "expected temperatures above 0");
  EXPECT_ERROR(make(2, settings_of({{"softmax", "befor"}})), "Did you mean 'before'?");
  EXPECT_ERROR(make(2)->forward(normal({2, kWidth + 1}, 1), {}), "d_model=5");
}

}  // namespace

}  // namespace moe::routing::mlp_router_test
