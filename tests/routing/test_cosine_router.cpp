// The cosine router against loops. T tokens, D width, P width of the projection, E experts,
// K choices per token.
#include <cmath>
#include <tests/routing/naive.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

namespace moe::routing::cosine_router_test {

namespace {

using moe::test::expect_close;
using moe::test::experts_by_token;
using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kTokens = 12, kWidth = 5, kProjection = 3, kExperts = 6;

void set_scale(Router& router, double value) {
  const at::NoGradGuard no_grad;
  state_of(router, "projection.scale").fill_(value);
}

std::shared_ptr<Router> make(int64_t top_k, Table settings = {}) {
  if (!settings.find("projection")) settings.set("projection", kProjection);
  auto router =
      naive::make("cosine", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
  test::randomise(*router, 3, 0.7);
  set_scale(*router, 1.3);
  return router;
}

/// Cosines between projected tokens and experts.
std::vector<Row> cosines(Router& router, const Tensor& x_TD) {
  const auto tokens = naive::linear(naive::rows_of(x_TD), state_of(router, "projection.weight"));
  const auto experts = naive::rows_of(state_of(router, "weight"));
  std::vector<Row> out;
  for (const Row& token : tokens) {
    out.emplace_back();
    for (const Row& expert : experts)
      out.back().push_back(naive::dot(token, expert) / std::sqrt(naive::dot(token, token)) /
                           std::sqrt(naive::dot(expert, expert)));
  }
  return out;
}

void scale_rows(std::vector<Row>& rows, double factor) {
  for (Row& row : rows)
    for (double& v : row) v *= factor;
}

TEST(CosineRouter, AgreesWithItsNaiveTwinForEverySelectionRule) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& rule : naive::selection_rules(2.5)) {
    const auto router = make(2, settings_of({{"renormalise", rule.renormalise},
                                             {"softmax", rule.softmax},
                                             {"scale", rule.scale},
                                             {"temperature", 0.2},
                                             {"weight_on", "input"}}));
    const Routing routing = router->forward(x_TD, {});
    EXPECT_TRUE(routing.weight_on_input);
    auto logits = cosines(*router, x_TD);
    scale_rows(logits, std::exp(1.3 - 1) / 0.2);
    for (int64_t t = 0; t < kTokens; ++t) {
      const Row& l = logits[static_cast<size_t>(t)];
      naive::expect_softmax_rule(routing, t, l, 2, rule);
      naive::expect_row(routing.logits_TE[t], l);
    }
  }
}

TEST(CosineRouter, TheLearnedTemperatureStaysBetweenItsBounds) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make(2);
  for (const auto& [scale, sharpness] : {std::pair{1e6, 100.0}, std::pair{-1e6, 0.01}}) {
    set_scale(*router, scale);
    const Tensor logits_TE = router->forward(x_TD, {}).logits_TE;
    auto expected = cosines(*router, x_TD);
    scale_rows(expected, sharpness);
    for (int64_t t = 0; t < kTokens; ++t)
      naive::expect_row(logits_TE[t], expected[static_cast<size_t>(t)]);
  }
}

TEST(CosineRouter, StartsAtTheAskedTemperatureAndWidth) {
  const RouterShape shape{.d_model = kWidth, .num_experts = 40, .top_k = 2};
  const auto router = naive::make("cosine", shape, settings_of({{"temperature", 0.25}}));
  EXPECT_EQ(state_of(*router, "weight").sizes(), (std::vector<int64_t>{40, 20}));
  EXPECT_EQ(state_of(*router, "projection.weight").sizes(), (std::vector<int64_t>{20, kWidth}));
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  auto expected = cosines(*router, x_TD);
  scale_rows(expected, 4);
  const Tensor logits_TE = router->forward(x_TD, {}).logits_TE;
  for (int64_t t = 0; t < kTokens; ++t)
    naive::expect_row(logits_TE[t], expected[static_cast<size_t>(t)]);
  const auto small = naive::make("cosine", {.d_model = kWidth, .num_experts = 4, .top_k = 1});
  EXPECT_EQ(state_of(*small, "weight").sizes(), (std::vector<int64_t>{4, 8}));
}

TEST(CosineRouter, LooksAtDirectionsOnlyHoweverLongTheTokens) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1).to(at::kFloat);
  const auto router =
      test::make_router("cosine", {.d_model = kWidth, .num_experts = kExperts, .top_k = 2});
  const Tensor logits_TE = router->forward(x_TD, {}).logits_TE;
  for (const double factor : {1e-30, 1e-3, 1e30})
    expect_close(router->forward(x_TD * factor, {}).logits_TE, logits_TE, 1e-5);
  for (const Ids& chosen : experts_by_token(router->forward(at::zeros({2, kWidth}), {})))
    EXPECT_EQ(chosen, (Ids{0, 1}));
}

TEST(CosineRouter, GradientsAgreeWithCentralDifferencesAndAreFiniteAtZero) {
  const auto router = make(2);
  std::vector<Tensor> inputs = {normal({4, kWidth}, 1)};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                         inputs);
  test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).logits_TE; },
                         inputs);
  Tensor zeros_TD = at::zeros({2, kWidth}, at::kDouble).set_requires_grad(true);
  router->forward(zeros_TD, {}).logits_TE.sum().backward();
  EXPECT_TRUE(zeros_TD.grad().isfinite().all().item<bool>());
  EXPECT_LT(zeros_TD.grad().abs().max().item<double>(), 1e3);
}

TEST(CosineRouter, RefusesSettingsAndInputsThatMeanNothing) {
  EXPECT_ERROR(make(2, settings_of({{"projection", -1}})), "expected projection >= 0, got -1");
  EXPECT_ERROR(make(2, settings_of({{"temperature", 0.0}})), "temperature in [0.01, 100], got 0");
  EXPECT_ERROR(make(2, settings_of({{"temperature", 200.0}})), "got 200");
  EXPECT_ERROR(make(2, settings_of({{"softmax", "befor"}})), "Did you mean 'before'?");
  EXPECT_ERROR(make(2)->forward(normal({2, kWidth + 1}, 1), {}), "d_model=5");
}

}  // namespace

}  // namespace moe::routing::cosine_router_test
