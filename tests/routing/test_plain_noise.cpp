// Noise of a given size: V-MoE and warm-up noise against loops. T tokens, D width, E experts,
// K choices per token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/equal.h>

namespace moe::routing::plain_noise_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 12, kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(const std::string& kind, int64_t top_k, const Table& settings = {}) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
}

LayerContext in_training(uint64_t step) {
  return {{.training = true, .random = {.seed = 5, .step = step, .layer = 1}},
          {.first_token = 100}};
}

/// Logits with noise, by loops.
std::vector<Row> noisy(std::vector<Row> logits, double std, const LayerContext& context) {
  const RandomStream stream(context.random, Purpose::kRouting);
  auto number = static_cast<uint64_t>(context.tokens.first_token * kExperts);
  for (Row& row : logits)
    for (double& l : row) l += std * static_cast<double>(stream.normal(number++));
  return logits;
}

/// The noise of the routing: its size everywhere, the logits with it, and losses without it.
void expect_noise(const Routing& routing, double std, const std::vector<Row>& clean,
                  const std::vector<Row>& h) {
  ASSERT_EQ(routing.noisy_logits_TE.defined(), std > 0);
  ASSERT_EQ(routing.noise_std_TE.defined(), std > 0);
  for (size_t i = 0; i < clean.size(); ++i) {
    const auto t = static_cast<int64_t>(i);
    naive::expect_row(routing.logits_TE[t], clean[i]);
    naive::expect_row(routing.scores_TE[t], naive::softmax(clean[i]));
    if (std == 0) continue;
    naive::expect_row(routing.noisy_logits_TE[t], h[i]);
    naive::expect_row(routing.noise_std_TE[t], Row(kExperts, std));
  }
}

TEST(VMoERouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const int64_t K : {1, 2})
    for (const double noise : {1.0, 3.0, 0.0})
      for (const bool training : {true, false}) {
        const auto router = make("vmoe", K, settings_of({{"noise", noise}}));
        LayerContext context = in_training(2);
        context.training = training;
        const double std = training ? noise / kExperts : 0;
        const Routing routing = router->forward(x_TD, context);
        const auto clean = naive::linear_logits(*router, x_TD);
        const auto h = noisy(clean, std, context);
        expect_noise(routing, std, clean, h);
        for (int64_t t = 0; t < kTokens; ++t) {
          const Row p = naive::softmax(h[static_cast<size_t>(t)]);
          const Ids ids = naive::best(p, static_cast<size_t>(K));
          naive::expect_pairs(routing, t, ids, naive::at_ids(p, ids));
        }
      }
}

TEST(VMoERouter, RefusesNegativeNoise) {
  EXPECT_ERROR(make("vmoe", 1, settings_of({{"noise", -1.0}})), "expected noise >= 0, got -1");
}

TEST(WarmupNoiseRouter, AgreesWithItsNaiveTwinWhileItLastsAndFallsOffAsAsked) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  struct Case {
    std::string decay;
    uint64_t step;
    double std;
  };
  for (const auto& [decay, step, std] :
       {Case{"constant", 0, 1.5}, Case{"constant", 9, 1.5}, Case{"constant", 10, 0},
        Case{"constant", 1000, 0}, Case{"linear", 0, 1.5}, Case{"linear", 5, 0.75},
        Case{"linear", 8, 0.3}, Case{"linear", 10, 0}, Case{"linear", 1000, 0}}) {
    SCOPED_TRACE(concat(decay, ' ', step));
    const auto router = make("warmup_noise", 2,
                             settings_of({{"noise", 1.5}, {"noise_steps", 10}, {"decay", decay}}));
    const LayerContext context = in_training(step);
    const Routing routing = router->forward(x_TD, context);
    const auto clean = naive::linear_logits(*router, x_TD);
    const auto h = noisy(clean, std, context);
    expect_noise(routing, std, clean, h);
    for (int64_t t = 0; t < kTokens; ++t) {
      const Row& row = h[static_cast<size_t>(t)];
      const Ids ids = naive::best(row, 2);
      naive::expect_pairs(routing, t, ids, naive::softmax(naive::at_ids(row, ids)));
    }
  }
}

TEST(WarmupNoiseRouter, IsSoftmaxTopKInEvaluationAndAfterTheWarmUp) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const bool renormalise : {true, false}) {
    const auto rule = settings_of(
        {{"renormalise", renormalise}, {"scale", 2.5}, {"weight_on", "input"}, {"bias", true}});
    const auto router = make("warmup_noise", 2, rule), plain = make("topk", 2, rule);
    LayerContext evaluation = in_training(0);
    evaluation.training = false;
    for (const auto& context : {evaluation, in_training(1000)}) {
      const Routing found = router->forward(x_TD, context);
      const Routing expected = plain->forward(x_TD, context);
      EXPECT_TRUE(at::equal(found.experts_N, expected.experts_N));
      EXPECT_TRUE(at::equal(found.weights_N, expected.weights_N));
      EXPECT_TRUE(found.weight_on_input);
    }
  }
}

TEST(WarmupNoiseRouter, MuchNoiseIsRandomRouting) {
  constexpr int64_t T = 20000, K = 2;
  const auto router = make("warmup_noise", K, settings_of({{"noise", 1e6}}));
  const Routing routing = router->forward(normal({T, kWidth}, 1), in_training(0));
  const Tensor counts_E = routing.counts_E();
  const double p = static_cast<double>(K) / kExperts;
  for (int64_t e = 0; e < kExperts; ++e)
    EXPECT_NEAR(counts_E[e].item<double>() / T, p, 5 * std::sqrt(p * (1 - p) / T)) << e;
}

TEST(WarmupNoiseRouter, RefusesSettingsThatMeanNothing) {
  const auto refused = [](const char* key, Value value) {
    return make("warmup_noise", 2, settings_of({{key, std::move(value)}}));
  };
  EXPECT_ERROR(refused("noise", -1.0), "expected noise >= 0, got -1");
  EXPECT_ERROR(refused("noise_steps", -1), "expected noise_steps >= 0, got -1");
  EXPECT_ERROR(refused("decay", "linea"), "Did you mean 'linear'?");
  EXPECT_ERROR(refused("softmax", "befor"), "Did you mean 'before'?");
}

}  // namespace

}  // namespace moe::routing::plain_noise_test
