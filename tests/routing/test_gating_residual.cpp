// Routers whose logits go on from those of the layer before. T tokens, D width, E experts.
#include <memory>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <moe/flow/earlier_logits.h>
#include <moe/routing/routers.h>

namespace moe::routing::gating_residual_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::normal;

constexpr int64_t T = 6, D = 5, E = 4;

std::shared_ptr<Router> make(const GatingResidualRouter& options, uint64_t seed,
                             int64_t experts = E) {
  auto router =
      RouterSpec(options).make(RouterShape{.d_model = D, .num_experts = experts, .top_k = 2});
  moe::test::randomise(*router, seed);
  return router;
}

LayerContext at_layer(int64_t layer, const std::shared_ptr<EarlierLogits>& logits) {
  LayerContext context;
  context.layer = layer;
  context.earlier_logits = logits;
  return context;
}

TEST(GatingResidual, AddsTheLogitsOfTheNearestLayerBefore) {
  const auto first = make({}, 1), second = make({}, 2), third = make({}, 3);
  const Tensor x_TD = normal({T, D}, 4);
  const auto logits = std::make_shared<EarlierLogits>();
  const auto plain = [&](Router& router) {
    return at::matmul(x_TD, router.named_parameters()["weight"].t());
  };
  const auto mixed = [](Router& router, const Tensor& earlier_TE) {
    return at::matmul(earlier_TE, router.named_parameters()["residual_weight"].t());
  };
  const Routing a = first->forward(x_TD, at_layer(0, logits));
  const Routing b = second->forward(x_TD, at_layer(3, logits));
  const Routing c = third->forward(x_TD, at_layer(4, logits));
  expect_close(a.logits_TE, plain(*first), 1e-12);
  expect_close(b.logits_TE, plain(*second) + mixed(*second, a.logits_TE), 1e-12);
  expect_close(c.logits_TE, plain(*third) + mixed(*third, b.logits_TE), 1e-12);
  expect_close(c.scores_TE, at::softmax(c.logits_TE, 1), 1e-12);
  expect_close(third->forward(x_TD, {}).logits_TE, plain(*third), 1e-12);
}

TEST(GatingResidual, GradientFlowsIntoTheLayerBeforeUnlessDetached) {
  const Tensor x_TD = normal({T, D}, 4);
  for (const bool detach : {false, true}) {
    const auto first = make({.detach = detach}, 1), second = make({.detach = detach}, 2);
    const auto both = [&](const Tensor& x) {
      const auto logits = std::make_shared<EarlierLogits>();
      first->forward(x, at_layer(0, logits));
      return second->forward(x, at_layer(1, logits)).logits_TE;
    };
    both(x_TD).sum().backward();
    EXPECT_EQ(first->named_parameters()["weight"].grad().defined(), !detach);
    EXPECT_GT(second->named_parameters()["residual_weight"].grad().abs().sum().item<double>(), 0);
    std::vector<Tensor> inputs = {second->named_parameters()["weight"],
                                  second->named_parameters()["residual_weight"]};
    if (!detach) inputs.insert(inputs.end(), {x_TD.clone(), first->named_parameters()["weight"]});
    expect_gradients([&](const auto& in) { return both(detach ? x_TD : in[2]); }, inputs);
  }
}

TEST(GatingResidual, RefusesToTrainWhereActivationsAreComputedAgain) {
  const Tensor x_TD = normal({T, D}, 4);
  for (const bool detach : {false, true}) {
    const auto first = make({.detach = detach}, 1), second = make({.detach = detach}, 2);
    const auto logits = std::make_shared<EarlierLogits>();
    const at::NoGradGuard first_run;
    auto context = at_layer(1, logits);
    first->forward(x_TD, at_layer(0, logits));
    second->forward(x_TD, context);
    context.training = true;
    if (detach)
      EXPECT_NO_THROW(second->forward(x_TD, context));
    else
      EXPECT_ERROR(second->forward(x_TD, context), "Set router.detach = true, or train.recompute");
  }
}

TEST(GatingResidual, RefusesLayersWithOtherNumbersOfExperts) {
  const auto first = make({}, 1, 8), second = make({}, 2);
  const Tensor x_TD = normal({T, D}, 4);
  const auto logits = std::make_shared<EarlierLogits>();
  first->forward(x_TD, at_layer(0, logits));
  EXPECT_ERROR(second->forward(x_TD, at_layer(1, logits)),
               "expected logits of 4 experts from the layer before layer 1, got shape [6, 8]");
}

TEST(GatingResidual, StartsAsTopK) {
  const auto router = RouterSpec(GatingResidualRouter{.renormalise = true})
                          .make(RouterShape{.d_model = D, .num_experts = E, .top_k = 2});
  initialise(*router, {}, 1, 0, "router.");
  const auto topk =
      RouterSpec(TopKRouter{}).make(RouterShape{.d_model = D, .num_experts = E, .top_k = 2});
  initialise(*topk, {}, 1, 0, "router.");
  const Tensor x_TD = normal({T, D}, 4).to(at::kFloat);
  const auto logits = std::make_shared<EarlierLogits>();
  logits->put(0, normal({T, E}, 5).to(at::kFloat));
  const Routing got = router->forward(x_TD, at_layer(1, logits)),
                expected = topk->forward(x_TD, {});
  EXPECT_TRUE(at::equal(got.experts_N, expected.experts_N));
  expect_close(got.weights_N, expected.weights_N, 1e-6);
}

}  // namespace

}  // namespace moe::routing::gating_residual_test
