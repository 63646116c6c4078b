// Noisy top-k against loops. T tokens, D width, E experts, K choices per token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

namespace moe::routing::noisy_topk_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kTokens = 12, kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings = {}) {
  return naive::make("noisy_topk", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k},
                     settings);
}

double standard_deviation(double raw, const std::string& form) {
  const double softplus = std::log1p(std::exp(raw));
  return form == "softplus" ? softplus + 0.03 : std::sqrt(softplus);
}

TEST(NoisyTopKRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const int64_t K : {2, 3})
    for (const std::string when : {"after", "before"})
      for (const std::string form : {"softplus", "sqrt_softplus"})
        for (const bool training : {true, false}) {
          SCOPED_TRACE(concat(when, ' ', form, training ? " training" : " evaluation"));
          const auto router = make(
              K, settings_of({{"softmax", when}, {"noise_std", form}, {"noise_epsilon", 0.03}}));
          const LayerContext context{
              {.training = training, .random = {.seed = 5, .step = 2, .layer = 1}},
              {.first_token = 100}};
          const RandomStream stream(context.random, Purpose::kRouting);
          const Routing routing = router->forward(x_TD, context);
          EXPECT_EQ(routing.noisy_logits_TE.defined(), training);
          EXPECT_EQ(routing.noise_std_TE.defined(), training);
          const Tensor weight_E2D = state_of(*router, "weight");
          ASSERT_EQ(weight_E2D.sizes(), (std::vector<int64_t>{kExperts, 2, kWidth}));
          const auto clean = naive::linear(naive::rows_of(x_TD), weight_E2D.select(1, 0));
          const auto raw = naive::linear(naive::rows_of(x_TD), weight_E2D.select(1, 1));
          for (int64_t t = 0; t < kTokens; ++t) {
            const auto i = static_cast<size_t>(t);
            Row h = clean[i], std;
            for (size_t e = 0; e < h.size(); ++e) {
              std.push_back(standard_deviation(raw[i][e], form));
              const auto number = static_cast<uint64_t>((100 + t) * kExperts) + e;
              if (training) h[e] += std[e] * static_cast<double>(stream.normal(number));
            }
            const Ids ids = naive::best(h, static_cast<size_t>(K));
            naive::expect_pairs(routing, t, ids,
                                when == "after" ? naive::softmax(naive::at_ids(h, ids))
                                                : naive::at_ids(naive::softmax(h), ids));
            naive::expect_row(routing.logits_TE[t], clean[i]);
            naive::expect_row(routing.scores_TE[t], naive::softmax(h));
            if (!training) continue;
            naive::expect_row(routing.noisy_logits_TE[t], h);
            naive::expect_row(routing.noise_std_TE[t], std);
          }
        }
}

TEST(NoisyTopKRouter, NoiseHasMeanZeroAndTheDeviationItReports) {
  constexpr int64_t T = 20000;
  const Tensor x_TD = normal({1, kWidth}, 3).expand({T, kWidth});
  const Routing routing = make(2)->forward(x_TD, {{.training = true, .random = {.seed = 11}}});
  const Tensor unit_TE =
      ((routing.noisy_logits_TE - routing.logits_TE) / routing.noise_std_TE).detach();
  for (int64_t e = 0; e < kExperts; ++e) {
    const Tensor unit_T = unit_TE.select(1, e);
    EXPECT_NEAR(unit_T.mean().item<double>(), 0, 5 / std::sqrt(T)) << e;
    EXPECT_NEAR(unit_T.std().item<double>(), 1, 5 / std::sqrt(2.0 * T)) << e;
  }
  // Independent between experts.
  EXPECT_NEAR((unit_TE.select(1, 0) * unit_TE.select(1, 1)).mean().item<double>(), 0,
              5 / std::sqrt(T));
}

TEST(NoisyTopKRouter, GradientReachesTheNoiseInTrainingOnly) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const bool training : {true, false}) {
    const auto router = make(2);
    const Routing routing = router->forward(x_TD, {{.training = training}});
    (routing.weights_N * normal({routing.pairs()}, 5)).sum().backward();
    const Tensor gradient_E2D = state_of(*router, "weight").grad();
    EXPECT_GT(gradient_E2D.select(1, 0).abs().max().item<double>(), 1e-6);
    EXPECT_EQ(gradient_E2D.select(1, 1).abs().max().item<double>() > 1e-6, training);
  }
}

TEST(NoisyTopKRouter, GradientsOfWhatTheLoadLossNeedsAgreeWithCentralDifferences) {
  const LayerContext context{{.training = true, .random = {.seed = 5}}};
  for (const std::string form : {"softplus", "sqrt_softplus"}) {
    const auto router = make(2, settings_of({{"noise_std", form}}));
    const std::vector<Tensor> inputs = {normal({4, kWidth}, 1), state_of(*router, "weight")};
    test::expect_gradients(
        [&](const auto& in) { return router->forward(in[0], context).noisy_logits_TE; }, inputs);
    test::expect_gradients(
        [&](const auto& in) { return router->forward(in[0], context).noise_std_TE; }, inputs);
  }
}

TEST(NoisyTopKRouter, RootOfAnUnderflowingSoftplusHasAFiniteGradient) {
  const auto router = make(2, settings_of({{"noise_std", "sqrt_softplus"}}));
  Tensor weight_E2D = state_of(*router, "weight");
  {
    const at::NoGradGuard no_grad;
    weight_E2D.select(1, 1).fill_(-1e4);
  }
  const Routing routing = router->forward(at::ones({3, kWidth}), {{.training = true}});
  (routing.noisy_logits_TE.sum() + routing.noise_std_TE.sum()).backward();
  EXPECT_TRUE(weight_E2D.grad().isfinite().all().item<bool>());
  EXPECT_LT(routing.noise_std_TE.max().item<double>(), 1e-10);
}

TEST(NoisyTopKRouter, WarnsWhenOneChoiceStopsItsGradient) {
  const auto warning_of = [](int64_t top_k, const Table& settings) {
    ::testing::internal::CaptureStderr();
    make(top_k, settings);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(warning_of(1, {}).find("cannot train the router"), std::string::npos);
  EXPECT_EQ(warning_of(1, settings_of({{"softmax", "before"}})), "");
  EXPECT_EQ(warning_of(2, {}), "");
}

TEST(NoisyTopKRouter, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(make(2, settings_of({{"softmax", "afte"}})), "Did you mean 'after'?");
  EXPECT_ERROR(make(2, settings_of({{"noise_std", "softplu"}})), "Did you mean 'softplus'?");
  EXPECT_ERROR(make(2, settings_of({{"noise_epsilon", -0.1}})), "expected noise_epsilon >= 0");
  EXPECT_ERROR(make(2)->forward(normal({2, kWidth + 1}, 1), {}), "d_model=5");
}

}  // namespace

}  // namespace moe::routing::noisy_topk_test
