// Rules of public models against naive twins: sparsemixer, scaled_topk, selection biases and sums.
// T tokens, D width, E experts.
#include <cmath>
#include <limits>
#include <tests/routing/naive.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/tensor.h>

namespace moe::routing::public_model_rules_test {

namespace {

using moe::test::expect_identical;
using moe::test::normal;
using naive::expect_pairs;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::softmax;
using naive::state_of;

constexpr int64_t kTokens = 40, kWidth = 5, kExperts = 6;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::shared_ptr<Router> make(const std::string& kind, const Table& settings = {},
                             int64_t top_k = 2) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
}

void set_bias(Router& router, const Row& bias) {
  state_of(router, "selection_bias").copy_(at::tensor(bias, at::kDouble));
}

/// The best of `left` and its share of a softmax over those of `left` within reach of it.
std::pair<int64_t, double> sparse_best(const Row& left, const Row& logits, double jitter) {
  const int64_t best = naive::by_value(left)[0];
  const double m = left[static_cast<size_t>(best)];
  Row near = left;
  for (size_t e = 0; e < near.size(); ++e)
    if ((m - logits[e]) / std::max(std::abs(logits[e]), m) > 2 * jitter) near[e] = -kInfinity;
  return {best, softmax(near)[static_cast<size_t>(best)]};
}

TEST(SparsemixerRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const double jitter : {0.01, 0.1, 0.4, 3.0}) {
    SCOPED_TRACE(jitter);
    const auto router = make("sparsemixer", settings_of({{"jitter", jitter}}));
    const Routing routing = router->forward(x_TD, {});
    const auto logits = naive::linear_logits(*router, x_TD);
    bool some_negative = false, some_shared = false;
    for (int64_t t = 0; t < kTokens; ++t) {
      const Row& l = logits[static_cast<size_t>(t)];
      const auto [first, w1] = sparse_best(l, l, jitter);
      Row left = l;
      left[static_cast<size_t>(first)] = -kInfinity;
      const auto [second, w2] = sparse_best(left, l, jitter);
      some_negative = some_negative || l[static_cast<size_t>(second)] < 0;
      some_shared = some_shared || w1 < 1 || w2 < 1;
      expect_pairs(routing, t, {first, second}, {w1, w2});
      naive::expect_row(routing.logits_TE[t], l);
      naive::expect_row(routing.scores_TE[t], softmax(l));
    }
    EXPECT_TRUE(some_negative) << "the rule's denominator is the size of the logit there";
    EXPECT_TRUE(some_shared || jitter < 0.1);
  }
}

TEST(SparsemixerRouter, WithoutAnEstimatorGradientsEqualCentralDifferencesInTrainingToo) {
  const auto router =
      make("sparsemixer", settings_of({{"jitter", 0.4}, {"estimator", std::string("none")}}));
  std::vector<Tensor> inputs = {normal({8, kWidth}, 1)};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  moe::test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                              inputs);
  expect_identical(router->forward(inputs[0], {{.training = true}}).weights_N.detach(),
                   router->forward(inputs[0], {}).weights_N.detach());
}

TEST(SparsemixerRouter, WithOneChoiceTakesTheFirst) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto one = make("sparsemixer", {}, 1), two = make("sparsemixer");
  const Routing first = one->forward(x_TD, {}), both = two->forward(x_TD, {});
  expect_identical(first.experts_N, both.experts_N.view({kTokens, 2}).select(1, 0).contiguous());
  expect_identical(first.weights_N.detach(),
                   both.weights_N.detach().view({kTokens, 2}).select(1, 0).contiguous());
  EXPECT_ERROR(make("sparsemixer", {}, 3), "expected top_k = 1 or 2, got 3");
  EXPECT_ERROR(make("sparsemixer", settings_of({{"jitter", -1.0}})), "jitter");
}

TEST(ScaledTopKRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto router = make("scaled_topk", settings_of({{"norm_epsilon", 0.1}}));
  {
    const at::NoGradGuard no_grad;
    state_of(*router, "scale").copy_(normal({kWidth}, 4));
    state_of(*router, "expert_scale").copy_(normal({kExperts}, 5));
  }
  const Routing routing = router->forward(x_TD, {});
  const Row scale = naive::rows_of(state_of(*router, "scale").unsqueeze(0))[0];
  const Row factor = naive::rows_of(state_of(*router, "expert_scale").unsqueeze(0))[0];
  std::vector<Row> in;
  for (const Row& x : naive::rows_of(x_TD)) {
    const double rms = std::sqrt(naive::dot(x, x) / kWidth + 0.1);
    in.emplace_back();
    for (size_t d = 0; d < x.size(); ++d)
      in.back().push_back(x[d] / rms * scale[d] / std::sqrt(static_cast<double>(kWidth)));
  }
  const auto logits = naive::linear(in, state_of(*router, "weight"));
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row& l = logits[static_cast<size_t>(t)];
    const Row p = softmax(l);
    const Ids ids = naive::best(p, 2);
    Row weights = naive::divided_by_sum(naive::at_ids(p, ids));
    for (size_t j = 0; j < 2; ++j) weights[j] *= factor[static_cast<size_t>(ids[j])];
    expect_pairs(routing, t, ids, weights);
    naive::expect_row(routing.logits_TE[t], l);
    naive::expect_row(routing.scores_TE[t], p);
  }
  std::vector<Tensor> inputs = {normal({8, kWidth}, 1)};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  moe::test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                              inputs);
  EXPECT_ERROR(make("scaled_topk", settings_of({{"norm_epsilon", -1.0}})), "norm_epsilon");
}

const Row kBias = {0.3, -0.2, 0.0, 0.4, -0.1, 0.1};

TEST(TopKRouter, SelectionBiasAndSumsAgreeWithTheirNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const bool renormalise : {true, false})
    for (const double epsilon : {0.0, 0.1})
      for (const double least : {0.0, 0.6}) {
        const auto router = make("topk", settings_of({{"renormalise", renormalise},
                                                      {"selection_bias", true},
                                                      {"epsilon", epsilon},
                                                      {"least_sum", least},
                                                      {"scale", 2.0}}));
        set_bias(*router, kBias);
        const Routing routing = router->forward(x_TD, {});
        const auto logits = naive::linear_logits(*router, x_TD);
        bool moved = false, held = false;
        for (int64_t t = 0; t < kTokens; ++t) {
          const Row p = softmax(logits[static_cast<size_t>(t)]);
          Row biased = p;
          for (size_t e = 0; e < p.size(); ++e) biased[e] += kBias[e];
          const Ids ids = naive::best(biased, 2);
          Row weights = naive::at_ids(p, ids);
          const double sum = weights[0] + weights[1] + epsilon;
          moved = moved || ids != naive::best(p, 2);
          held = held || sum < least;
          for (double& w : weights) w *= 2 / (renormalise ? std::max(sum, least) : 1);
          expect_pairs(routing, t, ids, weights);
          naive::expect_row(routing.scores_TE[t], p);
        }
        EXPECT_TRUE(moved);
        EXPECT_EQ(held, least > 0);
        std::vector<Tensor> inputs = {normal({8, kWidth}, 1)};
        for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
        moe::test::expect_gradients(
            [&](const auto& in) { return router->forward(in[0], {}).weights_N; }, inputs);
      }
}

TEST(TopKRouter, HasASelectionBiasOnlyIfAskedFor) {
  EXPECT_TRUE(make("topk")->named_buffers().is_empty());
  const auto router = test::make_router(
      "topk", {.d_model = kWidth, .num_experts = 2, .top_k = 1},
      settings_of({{"selection_bias", true}, {"bias_rate", 0.25}, {"renormalise", false}}));
  router->end_step({.counts_E = at::tensor({1, 9}, at::kLong), .step = 0});
  expect_identical(state_of(*router, "selection_bias"), at::tensor({0.25f, -0.25f}));
  EXPECT_ERROR(make("topk", settings_of({{"bias_rate", 0.1}})), "without a selection bias");
  EXPECT_ERROR(make("topk", settings_of({{"epsilon", -0.1}})), "epsilon and least_sum");
  EXPECT_ERROR(make("topk", settings_of({{"softmax", "after"}, {"epsilon", 0.1}})),
               "Set softmax = \"before\"");
}

TEST(SigmoidRouter, WithoutASelectionBiasChoosesTheLargestLogits) {
  const auto router = make(
      "sigmoid", settings_of({{"selection_bias", false}, {"epsilon", 0.5}, {"least_sum", 1.9}}));
  EXPECT_TRUE(router->named_buffers().is_empty());
  Tensor x_TD = normal({kTokens, kWidth}, 1);
  x_TD[0] *= 200;  // sigmoids of 1, in whose place the logits tell apart
  const Routing routing = router->forward(x_TD, {});
  const auto logits = naive::linear_logits(*router, x_TD);
  bool held = false;
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row& l = logits[static_cast<size_t>(t)];
    const Ids ids = naive::best(l, 2);
    Row weights;
    for (const double x : naive::at_ids(l, ids)) weights.push_back(1 / (1 + std::exp(-x)));
    const double sum = weights[0] + weights[1] + 0.5;
    held = held || sum < 1.9;
    for (double& w : weights) w /= std::max(sum, 1.9);
    expect_pairs(routing, t, ids, weights);
  }
  EXPECT_TRUE(held);
  router->end_step({.counts_E = at::tensor({1, 9, 1, 1, 1, 1}, at::kLong), .step = 0});
  EXPECT_ERROR(make("sigmoid", settings_of({{"selection_bias", false}, {"bias_rate", 0.1}})),
               "without a selection bias");
}

TEST(PublicModelRules, GiveATokenTheSameBitsAloneAndInABatch) {
  const at::NoGradGuard no_grad;
  const Tensor x_TD = normal({kTokens, kWidth}, 1).to(at::kFloat);
  for (const auto& [kind, settings] :
       {std::pair<std::string, Table>{"sparsemixer", settings_of({{"jitter", 0.4}})},
        {"scaled_topk", {}},
        {"topk", settings_of({{"selection_bias", true}, {"least_sum", 0.6}, {"epsilon", 0.1}})},
        {"sigmoid", settings_of({{"selection_bias", false}})}}) {
    SCOPED_TRACE(kind);
    const auto router =
        test::make_router(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = 2}, settings);
    const Tensor all_TK = router->forward(x_TD, {}).weights_N.view({kTokens, 2});
    for (int64_t t = 0; t < kTokens; ++t)
      expect_identical(router->forward(x_TD.slice(0, t, t + 1), {}).weights_N, all_TK[t]);
  }
}

TEST(TopKRouter, DividesByTheNormOfTheChosenWeights) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const double p : {0.5, 2.0, 3.0}) {
    SCOPED_TRACE(p);
    const auto router = make("topk", settings_of({{"norm", p}, {"scale", 1.5}}));
    const Routing routing = router->forward(x_TD, {});
    const auto logits = naive::linear_logits(*router, x_TD);
    for (int64_t t = 0; t < kTokens; ++t) {
      const Row scores = softmax(logits[static_cast<size_t>(t)]);
      const Ids order = naive::by_value(scores), chosen = {order[0], order[1]};
      Row weights;
      double powers = 0;
      for (const int64_t e : chosen) powers += std::pow(scores[static_cast<size_t>(e)], p);
      for (const int64_t e : chosen)
        weights.push_back(1.5 * scores[static_cast<size_t>(e)] / std::pow(powers, 1 / p));
      expect_pairs(routing, t, chosen, weights);
    }
    std::vector<Tensor> inputs = {normal({8, kWidth}, 1)};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    moe::test::expect_gradients(
        [&](const auto& in) { return router->forward(in[0], {}).weights_N; }, inputs);
  }
  EXPECT_ERROR(make("topk", settings_of({{"norm", 0.0}})), "expected a finite norm above 0");
  EXPECT_ERROR(make("topk", settings_of({{"norm", 2.0}, {"renormalise", false}})),
               "expected norm = 2 with renormalise = true");
  EXPECT_ERROR(make("topk", settings_of({{"norm", 2.0}, {"softmax", "after"}})),
               "expected norm = 2 with renormalise = true");
}

}  // namespace

}  // namespace moe::routing::public_model_rules_test
