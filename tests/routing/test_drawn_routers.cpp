// Routers that draw experts, or whose gradient is an estimate: thor, policy_gradient, sparsemixer
// in training; and relu and dynmoe, whose number of experts varies. T tokens, D width, E experts, K
// choices per token.
#include <cmath>
#include <map>
#include <tests/routing/naive.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/moe_layer.h>
#include <moe/routing/routers.h>

namespace moe::routing::drawn_routers_test {

namespace {

using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;
using test::experts_by_token;
using test::normal;

constexpr int64_t kTokens = 12, kExperts = 4;

LayerContext training(uint64_t step = 0) {
  LayerContext context;
  context.training = true;
  context.random = {.seed = 5, .step = step};
  return context;
}

/// A router of width E whose logits are its input.
std::shared_ptr<Router> plain_router(const std::string& kind, int64_t top_k,
                                     const Table& settings = {}) {
  auto router =
      naive::make(kind, {.d_model = kExperts, .num_experts = kExperts, .top_k = top_k}, settings);
  const at::NoGradGuard no_grad;
  state_of(*router, "weight").copy_(at::eye(kExperts));
  return router;
}

TEST(ReluRouterKind, AgreesWithItsNaiveTwin) {
  const auto router = plain_router("relu", 2, settings_of({{"scale", 2.0}}));
  Tensor x_TD = normal({kTokens, kExperts}, 1);
  x_TD[3].copy_(-x_TD[3].abs());
  const Routing routing = router->forward(x_TD, training());
  const auto rows = naive::rows_of(x_TD);
  for (size_t t = 0; t < rows.size(); ++t) {
    Ids experts;
    for (size_t e = 0; e < kExperts; ++e)
      if (rows[t][e] > 0) experts.push_back(static_cast<int64_t>(e));
    Row weights = naive::at_ids(rows[t], experts);
    for (double& w : weights) w *= 2;
    naive::expect_pairs(routing, static_cast<int64_t>(t), experts, weights);
  }
  EXPECT_EQ(test::weights_of(routing, 3).numel(), 0);
  EXPECT_EQ(router->active_experts(), 2);
  EXPECT_ERROR(plain_router("relu", 1, settings_of({{"scale", 0.0}})), "above 0, got 0");
}

TEST(ReluRouterKind, LeavesATokenWithoutExpertWhatTheSharedOneSays) {
  MoELayerOptions options{.d_model = 4, .num_experts = 4, .router = ReluRouter{}, .seed = 1};
  options.expert.d_ff = 3;
  MoELayer layer(options);
  const at::NoGradGuard no_grad;
  layer->router().named_parameters()["weight"].fill_(-1);
  EXPECT_TRUE(layer->forward(at::ones({2, 4})).hidden_TD.eq(0).all().item<bool>());
}

TEST(ThorRouterKind, DrawsForTheLayerOrForTokensAndEvenly) {
  const RouterShape shape{.d_model = 3, .num_experts = kExperts, .top_k = 2};
  const Tensor x_TD = normal({400, 3}, 2);
  const auto layer = routers().at("thor").make(shape, {});
  std::map<Ids, int64_t> seen;
  for (uint64_t step = 0; step < 600; ++step) {
    const auto experts = experts_by_token(layer->forward(x_TD.slice(0, 0, 3), training(step)));
    EXPECT_EQ(experts[0], experts[2]);
    ++seen[experts[0]];
  }
  EXPECT_EQ(seen.size(), 12u);  // ordered pairs
  for (const auto& [pair, count] : seen) EXPECT_NEAR(count, 50, 30);

  const Routing tokens = layer->forward(x_TD, {});  // evaluation: by token
  EXPECT_NE(experts_by_token(tokens)[0], experts_by_token(tokens)[1]);
  EXPECT_TRUE(tokens.weights_N.eq(0.5).all().item<bool>());
  for (int64_t e = 0; e < kExperts; ++e) EXPECT_NEAR(tokens.counts_E()[e].item<double>(), 200, 50);

  const auto mean = routers().at("thor").make(shape, settings_of({{"evaluation", "mean"}}));
  const Routing all = mean->forward(x_TD, {});
  EXPECT_EQ(all.choices, kExperts);
  EXPECT_TRUE(all.weights_N.eq(0.25).all().item<bool>());
  EXPECT_ERROR(routers().at("thor").make(shape, settings_of({{"training", "mean"}})),
               "one of layer, token");
}

TEST(PolicyGradientRouterKind, KnowsTheChanceOfWhatItDrew) {
  for (const int64_t K : {1, 2, 4}) {
    const auto router = plain_router("policy_gradient", K, settings_of({{"temperature", 2.0}}));
    const Tensor x_TD = normal({kTokens, kExperts}, 3);
    const Routing routing = router->forward(x_TD, training());
    const auto rows = naive::rows_of(x_TD / 2);
    for (size_t t = 0; t < rows.size(); ++t) {
      const Row p = naive::softmax(rows[t]);
      double left = 1, chance = 0;
      const Ids drawn = experts_by_token(routing)[t];
      for (const int64_t e : drawn) {
        chance += std::log(p[static_cast<size_t>(e)] / left);
        left -= p[static_cast<size_t>(e)];
      }
      EXPECT_NEAR(routing.log_chance_T[static_cast<int64_t>(t)].item<double>(), chance, 1e-9);
      naive::expect_row(test::weights_of(routing, static_cast<int64_t>(t)), naive::at_ids(p, drawn),
                        1e-12);
    }
    const Routing best = router->forward(x_TD, {});
    EXPECT_FALSE(best.log_chance_T.defined());
    for (size_t t = 0; t < rows.size(); ++t)
      EXPECT_EQ(experts_by_token(best)[t], naive::best(rows[t], static_cast<size_t>(K)));
  }
}

TEST(PolicyGradientRouterKind, DrawsAsOftenAsItsChancesSay) {
  const auto router = plain_router("policy_gradient", 1);
  const Tensor x_TD = at::tensor({1.0, 0.0, -1.0, 0.5}, at::kDouble).expand({20000, 4});
  const Row p = naive::softmax({1, 0, -1, 0.5});
  const Tensor counts_E = router->forward(x_TD.contiguous(), training()).counts_E();
  for (int64_t e = 0; e < kExperts; ++e)
    EXPECT_NEAR(counts_E[e].item<double>() / 20000, p[static_cast<size_t>(e)], 0.015);
}

TEST(PolicyGradientRouterKind, ExpectsAMovingAverageOfTheLoss) {
  const auto router = plain_router("policy_gradient", 1, settings_of({{"decay", 0.75}}));
  const auto expected = [&] {
    return router->forward(normal({2, kExperts}, 4), training()).expected_loss.item<double>();
  };
  EXPECT_TRUE(std::isnan(expected()));
  router->end_step({.counts_E = {}, .task_loss = 4});
  EXPECT_EQ(expected(), 4);
  router->end_step({.counts_E = {}, .task_loss = 8});
  EXPECT_EQ(expected(), 5);
  router->end_step({});  // not known: stays
  EXPECT_EQ(expected(), 5);
  EXPECT_ERROR(plain_router("policy_gradient", 1, settings_of({{"decay", 1.0}})), "got 1");
  EXPECT_ERROR(plain_router("policy_gradient", 1, settings_of({{"coefficient", -1.0}})), "got -1");
  EXPECT_ERROR(plain_router("policy_gradient", 1, settings_of({{"weight", "one"}})), "one of");
}

TEST(SparsemixerTraining, WeighsAndLearnsAsThePaperSays) {
  constexpr double kJitter = 0.4;
  const auto router = plain_router("sparsemixer", 2, settings_of({{"jitter", kJitter}}));
  const int64_t T = 3000;
  Tensor x_TD = (normal({T, kExperts}, 5) * 0.2 + 1).set_requires_grad(true);
  const Routing routing = router->forward(x_TD, training());
  const Tensor outer_N = normal({routing.pairs()}, 6);
  const Tensor gradient = torch::autograd::grad({(routing.weights_N * outer_N).sum()}, {x_TD})[0];

  const auto rows = naive::rows_of(x_TD);
  int64_t others = 0, whole_others = 0, first_best = 0;
  for (int64_t t = 0; t < T; ++t) {
    const Row& l = rows[static_cast<size_t>(t)];
    const auto drawn = experts_by_token(routing)[static_cast<size_t>(t)];
    Row slope(kExperts, 0);
    Ids out;  // drawn before
    for (size_t k = 0; k < 2; ++k) {
      // softmax over those near the best of the ones that are left
      double m = -1e30;
      for (int64_t e = 0; e < kExperts; ++e)
        if (!std::count(out.begin(), out.end(), e)) m = std::max(m, l[static_cast<size_t>(e)]);
      Row pi(kExperts, 0);
      double sum = 0;
      size_t best = 0;
      for (size_t e = 0; e < kExperts; ++e) {
        if (std::count(out.begin(), out.end(), static_cast<int64_t>(e))) continue;
        if ((m - l[e]) / std::max(std::abs(l[e]), m) > 2 * kJitter) continue;
        sum += pi[e] = std::exp(l[e]);
        if (l[e] == m) best = e;
      }
      for (double& v : pi) v /= sum;
      const auto D = static_cast<size_t>(drawn[k]);
      ASSERT_GT(pi[D], 0) << "drawn from those that are near";
      const double weight = test::weights_of(routing, t)[static_cast<int64_t>(k)].item<double>();
      const bool whole = std::abs(weight - pi[D]) < 1e-9;
      EXPECT_TRUE(whole || std::abs(weight - pi[D] / 3) < 1e-9) << weight << ' ' << pi[D];
      if (D == best) {
        EXPECT_TRUE(whole);
      } else {
        ++others;
        whole_others += whole;
      }
      first_best += k == 0 && D == best;
      const double outer = outer_N[2 * t + static_cast<int64_t>(k)].item<double>();
      for (size_t e = 0; e < kExperts; ++e) slope[e] += outer * pi[D] * ((e == D ? 1 : 0) - pi[e]);
      out.push_back(drawn[k]);
    }
    naive::expect_row(gradient[t], slope, 1e-9);
  }
  EXPECT_GT(others, 1000);
  EXPECT_NEAR(static_cast<double>(whole_others) / static_cast<double>(others), 0.25, 0.04);
  EXPECT_LT(first_best, T);
}

TEST(SparsemixerTraining, CanBeLeftOut) {
  const auto router = plain_router("sparsemixer", 2, settings_of({{"estimator", "none"}}));
  const Tensor x_TD = normal({kTokens, kExperts}, 7);
  EXPECT_TRUE(
      at::equal(router->forward(x_TD, training()).weights_N, router->forward(x_TD, {}).weights_N));
  EXPECT_FALSE(router->estimates_gradient());
  EXPECT_ERROR(plain_router("sparsemixer", 2, settings_of({{"estimator", "third"}})), "heun");
}

/// A dynmoe router whose cosines are the unit input's.
std::shared_ptr<Router> dynmoe(const Table& settings = {}) {
  auto router = plain_router("dynmoe", 1, settings);
  const at::NoGradGuard no_grad;
  state_of(*router, "threshold").copy_(at::tensor({0.1, -0.2, 0.3, 0.0}));
  return router;
}

TEST(DynMoERouterKind, AgreesWithItsNaiveTwinAndPassesGradientsStraightThrough) {
  const double tau = 0.5;
  const auto router = dynmoe(settings_of({{"temperature", tau}}));
  Tensor x_TD = normal({kTokens, kExperts}, 8);
  x_TD[2] = at::tensor({-1.0, -2.0, -0.5, -0.9});  // passes nothing
  x_TD.set_requires_grad(true);
  const Routing routing = router->forward(x_TD, training());
  const Tensor outer_N = normal({routing.pairs()}, 9);
  const Tensor threshold_E = state_of(*router, "threshold");
  const Tensor slope_E =
      torch::autograd::grad({(routing.weights_N * outer_N).sum()}, {threshold_E})[0];
  const auto rows = naive::rows_of(x_TD);
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  const Row limits = {0.1, -0.2, 0.3, 0.0};
  Row slopes(kExperts, 0);
  int64_t pair = 0;
  for (size_t t = 0; t < rows.size(); ++t) {
    Row s;
    for (const double v : rows[t])
      s.push_back(sigmoid(v / std::sqrt(naive::dot(rows[t], rows[t])) / tau));
    Ids experts;
    for (size_t e = 0; e < kExperts; ++e)
      if (s[e] > sigmoid(limits[e] / tau)) experts.push_back(static_cast<int64_t>(e));
    if (experts.empty()) experts = naive::best(s, 1);
    const double share = 1 / static_cast<double>(experts.size());
    naive::expect_pairs(routing, static_cast<int64_t>(t), experts, Row(experts.size(), share));
    for (const int64_t e : experts) {
      const double g = sigmoid(limits[static_cast<size_t>(e)] / tau);
      slopes[static_cast<size_t>(e)] -= outer_N[pair++].item<double>() * share * g * (1 - g) / tau;
    }
  }
  EXPECT_EQ(experts_by_token(routing)[2], Ids{2});
  naive::expect_row(slope_E, slopes, 1e-9);

  const auto paper = dynmoe(settings_of({{"temperature", tau}, {"at_least_one", "evaluation"}}));
  EXPECT_TRUE(experts_by_token(paper->forward(x_TD, training()))[2].empty());
  EXPECT_EQ(experts_by_token(paper->forward(x_TD, {}))[2], Ids{2});
}

TEST(DynMoERouterKind, LetsExpertsComeAndGoByTheirUse) {
  const auto router = dynmoe(settings_of({{"update_every", 2}, {"start_experts", 3}}));
  const auto active = [&] { return state_of(*router, "active").clone(); };
  EXPECT_TRUE(at::equal(active(), at::tensor({1, 1, 1, 0}, at::kLong)));
  const Tensor x_TD = normal({kTokens, kExperts}, 10) - 2;  // most pass nothing
  const Routing routing = router->forward(x_TD, training());
  for (const auto& experts : experts_by_token(routing))
    for (const int64_t e : experts) EXPECT_NE(e, 3);
  const Tensor none_D = routing.record_R.slice(0, 0, kExperts);
  ASSERT_GT(routing.record_R[kExperts].item<double>(), 0);

  const StepStatistics step{.counts_E = at::tensor({5, 0, 7, 0}, at::kLong),
                            .record_R = routing.record_R};
  router->end_step(step);
  EXPECT_TRUE(router->started_anew().empty());
  EXPECT_TRUE(at::equal(active(), at::tensor({1, 1, 1, 0}, at::kLong)));
  router->end_step(step);
  // Expert 1 had no token and leaves; the first one free is the same, and starts anew.
  EXPECT_TRUE(at::equal(active(), at::tensor({1, 1, 1, 0}, at::kLong)));
  EXPECT_EQ(router->started_anew(), std::vector<int64_t>{1});
  test::expect_close(state_of(*router, "weight")[1].detach(),
                     none_D / at::linalg_vector_norm(none_D), 1e-12);
  EXPECT_EQ(state_of(*router, "threshold")[1].item<double>(), 0);
  EXPECT_TRUE(state_of(*router, "used").eq(0).all().item<bool>());

  const StepStatistics served{.counts_E = at::tensor({0, 0, 7, 0}, at::kLong),
                              .record_R = at::zeros({kExperts + 1}, at::kDouble)};
  router->end_step(served);
  router->end_step(served);
  EXPECT_TRUE(at::equal(active(), at::tensor({0, 0, 1, 0}, at::kLong)));
  EXPECT_TRUE(router->started_anew().empty());
  const StepStatistics nothing{.counts_E = at::zeros({4}, at::kLong),
                               .record_R = at::zeros({kExperts + 1}, at::kDouble)};
  router->end_step(nothing);
  router->end_step(nothing);
  EXPECT_TRUE(at::equal(active(), at::tensor({0, 0, 1, 0}, at::kLong))) << "the last one stays";
}

TEST(DynMoERouterKind, RefusesSettingsThatMeanNothing) {
  EXPECT_ERROR(dynmoe(settings_of({{"start_experts", 5}})), "at most num_experts=4, got 5");
  EXPECT_ERROR(dynmoe(settings_of({{"temperature", 0.0}})), "at least 0.01, got 0");
  EXPECT_ERROR(dynmoe(settings_of({{"update_every", -1}})), "at least 0, got 0 and -1");
}

}  // namespace

}  // namespace moe::routing::drawn_routers_test
