// Terms on the gates of particular routers: relu_l1 and gate_diversity. T tokens, E experts, K
// experts a token on average, D width.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/relu.h>

#include <moe/balance/terms.h>
#include <moe/routing/routers.h>

namespace moe::balance::gate_terms_test {

namespace {

using moe::test::expect_gradients;
using moe::test::normal;
using namespace moe::test::balance;

constexpr int64_t T = 7, E = 4, K = 2;

/// What a relu router makes of these logits.
Routing relu_routing(const Tensor& logits_TE) {
  const Tensor gates_TE = at::relu(logits_TE), open_TE = logits_TE.detach().gt(0);
  Routing routing;
  routing.num_experts = E;
  routing.experts_N = open_TE.nonzero().select(1, 1);
  routing.weights_N = gates_TE.masked_select(open_TE);
  routing.offsets = at::zeros({T + 1}, at::kLong);
  routing.offsets.slice(0, 1).copy_(open_TE.sum(1).cumsum(0));
  routing.logits_TE = logits_TE;
  routing.scores_TE = gates_TE;
  return routing;
}

TEST(ReluL1Term, AgreesWithItsNaiveTwin) {
  const Tensor logits_TE = normal({T, E}, 1);
  double plain = 0, balanced = 0;
  for (int64_t e = 0; e < E; ++e) {
    double gates = 0, count = 0;
    for (int64_t t = 0; t < T; ++t) {
      const double gate = std::max(0.0, logits_TE[t][e].item<double>());
      gates += gate;
      count += gate > 0;
    }
    plain += gates / T;
    balanced += E * count / (K * static_cast<double>(T)) * gates / T;
  }
  const double lambda = 0.25;
  EXPECT_NEAR(
      value_of(*make("relu_l1", setting("start", lambda)), relu_routing(logits_TE)).item<double>(),
      lambda * balanced, 1e-12);
  Table settings = setting("start", lambda);
  settings.set("balanced", false);
  const auto term = make("relu_l1", settings);
  EXPECT_NEAR(value_of(*term, relu_routing(logits_TE)).item<double>(), lambda * plain, 1e-12);
  for (const bool form : {true, false}) {
    settings.set("balanced", form);
    const auto learned = make("relu_l1", settings);
    expect_gradients([&](const auto& in) { return value_of(*learned, relu_routing(in[0])); },
                     {logits_TE.clone()});
  }
}

TEST(ReluL1Term, MovesLambdaTowardsTheExpertsThatTopKNames) {
  const auto term = make("relu_l1", setting("factor", 1.5));
  const Tensor lambda = term->named_buffers()["lambda"];
  EXPECT_EQ(lambda.item<double>(), 1e-8);
  const auto step = [&](int64_t pairs, int64_t tokens) {
    term->end_step({.counts_E = at::full({1}, pairs, at::kLong), .tokens = tokens});
    return lambda.item<double>();
  };
  EXPECT_DOUBLE_EQ(step(21, 10), 1.5e-8);  // too many: sparser
  EXPECT_DOUBLE_EQ(step(20, 10), 1.5e-8);  // as wanted
  EXPECT_DOUBLE_EQ(step(19, 10), 1e-8);
  EXPECT_DOUBLE_EQ(step(0, 0), 1e-8);  // no token says nothing
  EXPECT_ERROR(step(3, 0), "Set StepStatistics::tokens");
  for (int i = 0; i < 500; ++i) step(40, 10);
  EXPECT_EQ(lambda.item<double>(), 1e10);
  EXPECT_ERROR(make("relu_l1", setting("factor", 1.0)), "above 1, got 1");
  EXPECT_ERROR(make("relu_l1", setting("start", 0.0)), "above 0, got 0");
}

TEST(GateDiversityTerm, AgreesWithItsNaiveTwin) {
  constexpr int64_t D = 5;
  Tensor w_ED = normal({E, D}, 3);
  const Routing routing = routing_of(logits_of(1));
  Table settings = setting("diversity", 2.0);
  settings.set("simplicity", 0.5);
  const auto term = make("gate_diversity", settings);
  const auto value = [&](const Tensor& weight) {
    const LayerWeights weights{
        .router = {{"weight", weight, {.role = Role::kScores, .per_expert = true}}}, .experts = {}};
    return value_of(*term, BalanceInputs{.routing = routing, .context = {}, .weights = &weights});
  };
  double apart = 0, lengths = 0;
  const auto dot = [&](int64_t i, int64_t j) { return (w_ED[i] * w_ED[j]).sum().item<double>(); };
  for (int64_t i = 0; i < E; ++i) {
    lengths += std::sqrt(dot(i, i)) / E;
    for (int64_t j = 0; j < E; ++j)
      apart += std::pow(dot(i, j) / std::sqrt(dot(i, i) * dot(j, j)) - (i == j), 2);
  }
  EXPECT_NEAR(value(w_ED).item<double>(), 2 * std::sqrt(apart) + 0.5 * lengths, 1e-12);
  expect_gradients([&](const auto& in) { return value(in[0]); }, {w_ED});
  EXPECT_ERROR(make("gate_diversity", setting("diversity", -1.0)), "at least 0, got -1");
}

TEST(SimilarityTerm, AgreesWithItsNaiveTwin) {
  constexpr int64_t D = 5;
  Tensor w_ED = normal({E, D}, 4);
  const Routing routing = routing_of(logits_of(1));
  const auto term = make("similarity");
  const auto value = [&](const Tensor& weight) {
    const LayerWeights weights{
        .router = {{"weight", weight, {.role = Role::kScores, .per_expert = true}}}, .experts = {}};
    return value_of(*term, BalanceInputs{.routing = routing, .context = {}, .weights = &weights});
  };
  double expected = 0;
  for (int64_t i = 0; i < E; ++i)
    for (int64_t j = 0; j < E; ++j)
      expected += std::abs((w_ED[i] * w_ED[j]).sum().item<double>() - (i == j));
  EXPECT_NEAR(value(w_ED).item<double>(), expected, 1e-12);
  EXPECT_EQ(value(at::eye(E, D, at::kDouble)).item<double>(), 0);
  expect_gradients([&](const auto& in) { return value(in[0]); }, {w_ED});
}

}  // namespace

}  // namespace moe::balance::gate_terms_test
