// A compute budget in MoE layers. T tokens, D width, E experts, K choices.
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/feed_forwards/soft_moe.h>
#include <moe/layers/moe_layer.h>
#include <moe/routing/routers.h>

namespace moe::layers::layer_budget_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t T = 10, D = 6, E = 8, K = 4;

MoELayer make(const RouterSpec& router, int64_t top_k = K) {
  MoELayer layer(MoELayerOptions{.d_model = D,
                                 .num_experts = E,
                                 .top_k = top_k,
                                 .router = router,
                                 .expert = {.kind = "gated", .d_ff = 5},
                                 .balance = {{"switch", 0.1}},
                                 .shared = Dense{.d_ff = 4}});
  moe::test::randomise(*layer, 1);
  return layer;
}

void construct(const MoELayerOptions& options) {
  const MoELayer layer(options);
}

LayerContext at_budget(double budget) {
  LayerContext context;
  context.budget = budget;
  return context;
}

TEST(LayerBudget, OfOneChangesNoBit) {
  const Tensor x_TD = normal({T, D}, 3);
  for (const RouterSpec& router : {RouterSpec(TopKRouter{}), RouterSpec(TopPRouter{})}) {
    auto layer = make(router);
    const auto usual = layer->forward_tokens(x_TD, {}),
               full = layer->forward_tokens(x_TD, at_budget(1));
    expect_identical(full.hidden_TD, usual.hidden_TD);
    expect_identical(full.balance.loss(), usual.balance.loss());
  }
}

TEST(LayerBudget, OfAHalfIsTheLayerThatChoosesHalf) {
  const Tensor x_TD = normal({T, D}, 3);
  for (const RouterSpec& router :
       {RouterSpec(TopKRouter{}), RouterSpec(TopKRouter{.renormalise = false}),
        RouterSpec(SigmoidRouter{.scale = 2.5}), RouterSpec(ScaledTopKRouter{})}) {
    SCOPED_TRACE(router.kind);
    auto layer = make(router), fewer = make(router, K / 2);
    const auto half = layer->forward_tokens(x_TD, at_budget(0.5)),
               expected = fewer->forward_tokens(x_TD, {});
    expect_close(half.hidden_TD, expected.hidden_TD, 1e-12);
    expect_identical(half.balance.load_E, expected.balance.load_E);
    EXPECT_EQ(half.balance.dropped.item<double>(), 0) << "what a budget leaves out is no drop";
    expect_close(half.balance.loss(), expected.balance.loss(), 1e-12);
  }
}

TEST(LayerBudget, OfATrainingStepIsDrawnEvenlyForEachLayerAndStep) {
  MoELayerOptions o{.d_model = D, .num_experts = E, .top_k = K, .least_top_k = 2};
  MoELayer layer(o);
  moe::test::randomise(*layer, 1);
  const Tensor x_TD = normal({T, D}, 3);
  std::map<int64_t, int64_t> found;
  for (uint64_t step = 0; step < 300; ++step)
    for (const uint32_t number : {0, 1}) {
      LayerContext context;
      context.training = true;
      context.random = {.seed = 1, .step = step, .layer = number};
      const auto out = layer->forward_tokens(x_TD, context);
      ++found[out.routing.choices];
      // Another micro-batch of the step.
      context.tokens.first_token = 1000;
      EXPECT_EQ(layer->forward_tokens(x_TD, context).routing.choices, out.routing.choices);
    }
  ASSERT_EQ(found.size(), 3u);
  for (const int64_t k : {2, 3, 4}) EXPECT_NEAR(static_cast<double>(found[k]), 200, 60) << k;
  EXPECT_EQ(layer->forward_tokens(x_TD, {}).routing.choices, K) << "evaluation draws nothing";
}

TEST(LayerBudget, RefusesToDrawWhereChoicesAreNotTopK) {
  MoELayerOptions o{.d_model = D, .num_experts = E, .top_k = K, .least_top_k = 5};
  EXPECT_ERROR(construct(o), "expected least_top_k in [0, top_k=4], got 5");
  o.least_top_k = -1;
  EXPECT_ERROR(construct(o), "expected least_top_k in [0, top_k=4], got -1");
  o.least_top_k = 1;
  for (const RouterSpec& router : {RouterSpec(TopPRouter{}), RouterSpec(ExpertChoiceRouter{})}) {
    o.router = router;
    EXPECT_ERROR(construct(o),
                 concat("expected least_top_k = 0 with router.kind = \"", router.kind));
  }
}

TEST(LayerBudget, IsRefusedWhereItMeansNothing) {
  const Tensor x_TD = normal({T, D}, 3);
  auto choice = make(ExpertChoiceRouter{});
  EXPECT_ERROR(choice->forward_tokens(x_TD, at_budget(0.5)),
               "expected a budget of 1 for a router whose pairs stand in no order of choice");
  auto usual = make(TopKRouter{});
  EXPECT_ERROR(usual->forward_tokens(x_TD, at_budget(0)), "expected a budget in (0, 1], got 0");
  EXPECT_ERROR(usual->forward_tokens(x_TD, at_budget(1.01)),
               "expected a budget in (0, 1], got 1.01");
  const FeedForwardSpec soft = SoftMoE{};
  const auto slots = moe::test::initialised(soft.make(FeedForwardShape{.d_model = D}));
  EXPECT_ERROR(slots->forward_tokens(x_TD.to(at::kFloat), at_budget(0.5)),
               "expected a budget of 1, since every token is in every slot, got 0.5");
}

}  // namespace

}  // namespace moe::layers::layer_budget_test
