// REINFORCE against what it estimates. T tokens, E experts.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/objectives/policy_loss.h>
#include <moe/routing/routers.h>

#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/routers.h"

namespace moe::test::policy_loss_test {
namespace {

constexpr int64_t kExperts = 4;

/// A router of width E in float64 whose logits are its input.
std::shared_ptr<routing::Router> router_of(double coefficient) {
  const RouterSpec spec = PolicyGradientRouter{.coefficient = coefficient, .weight = "equal"};
  auto router = initialised_router(
      spec.make(routing::RouterShape{.d_model = kExperts, .num_experts = kExperts}));
  router->to(at::kDouble);
  const at::NoGradGuard no_grad;
  router->named_parameters()["weight"].copy_(at::eye(kExperts));
  return router;
}

LayerReport report_of(const Routing& routing) {
  LayerReport report;
  report.routing = routing;
  report.balance.tokens = at::full({}, routing.tokens(), at::kDouble);
  return report;
}

LayerContext training(uint64_t step) {
  LayerContext context;
  context.training = true;
  context.random = {.seed = 1, .step = step};
  return context;
}

TEST(PolicyLoss, HasTheGradientOfReinforce) {
  constexpr int64_t T = 6;
  const auto router = router_of(0.5);
  router->end_step({.counts_E = {}, .task_loss = 3});
  const Tensor x_TE = normal({T, kExperts}, 1).set_requires_grad(true);
  const Routing routing = router->forward(x_TE, training(0));
  const Tensor loss = objectives::policy_loss({report_of(routing)}, 5);
  const Tensor gradient = torch::autograd::grad({loss}, {x_TE})[0];
  // coefficient (L - b) / T (one-hot of the drawn expert - p)
  const Tensor drawn_TE =
      at::zeros({T, kExperts}, at::kDouble).scatter(1, routing.experts_N.view({T, 1}), 1.0);
  expect_close(gradient, (drawn_TE - at::softmax(x_TE.detach(), 1)) * (0.5 * (5 - 3) / T), 1e-12);
  EXPECT_NEAR(loss.item<double>(), 0.5 * 2 * routing.log_chance_T.mean().item<double>(), 1e-12);
}

TEST(PolicyLoss, PointsDownTheExpectedLossOverDraws) {
  // One token, whose loss depends on its expert alone: dE[L]/dl_e = p_e (L_e - E[L]).
  const Tensor losses_E = at::tensor({1.0, 4.0, 2.0, 3.0}, at::kDouble);
  const Tensor x_TE = normal({1, kExperts}, 2).set_requires_grad(true);
  const auto router = router_of(1);
  router->end_step({.counts_E = {}, .task_loss = 2.5});
  Tensor sum = at::zeros({1, kExperts}, at::kDouble);
  constexpr int64_t kDraws = 20000;
  for (uint64_t step = 0; step < kDraws; ++step) {
    const Routing routing = router->forward(x_TE, training(step));
    const double loss = losses_E[routing.experts_N[0].item<int64_t>()].item<double>();
    const Tensor policy = objectives::policy_loss({report_of(routing)}, loss);
    sum += torch::autograd::grad({policy}, {x_TE})[0];
  }
  const Tensor p_TE = at::softmax(x_TE.detach(), 1);
  const Tensor exact = p_TE * (losses_E - (p_TE * losses_E).sum());
  expect_close(sum / kDraws, exact, 0.02);
  // Along the estimate the expected loss falls.
  const Tensor after_TE = at::softmax(x_TE.detach() - sum / kDraws, 1);
  EXPECT_LT((after_TE * losses_E).sum().item<double>(), (p_TE * losses_E).sum().item<double>());
}

TEST(PolicyLoss, IsZeroBeforeABaselineAndUndefinedWithoutDraws) {
  const auto router = router_of(1);
  const Tensor x_TE = normal({3, kExperts}, 3).set_requires_grad(true);
  const Routing first = router->forward(x_TE, training(0));
  EXPECT_EQ(objectives::policy_loss({report_of(first)}, 5).item<double>(), 0);
  EXPECT_TRUE(objectives::has_policy({report_of(first)}));
  const Routing evaluated = router->forward(x_TE, {});
  EXPECT_FALSE(objectives::has_policy({report_of(evaluated)}));
  EXPECT_FALSE(objectives::policy_loss({report_of(evaluated)}, 5).defined());
  const Routing none = router->forward(x_TE.detach().slice(0, 0, 0), training(0));
  EXPECT_EQ(objectives::policy_loss({report_of(none)}, 5).item<double>(), 0);
}

}  // namespace
}  // namespace moe::test::policy_loss_test
