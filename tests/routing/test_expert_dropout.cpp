// Experts that sit out a step. T tokens, E experts, K choices per token, N pairs.
#include <set>
#include <tests/support/routers.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/routing/expert_dropout.h>

namespace moe::routing::expert_dropout_test {

namespace {

constexpr int64_t kTokens = 12, kExperts = 6, kChoices = 2;

/// Every expert in turn, with weights that differ.
Routing round_robin() {
  const Tensor pairs_TK = at::arange(kTokens * kChoices, at::kLong).reshape({kTokens, kChoices});
  return fixed_choices(pairs_TK.remainder(kExperts), pairs_TK.to(at::kDouble) + 1, kExperts);
}

LayerContext training(uint64_t step = 0, uint32_t layer = 0) {
  return {{.training = true, .random = {.seed = 5, .step = step, .layer = layer}}};
}

/// The experts that no pair of `routing` has.
std::set<int64_t> absent(const Routing& routing) {
  std::set<int64_t> out;
  const Tensor counts_E = routing.counts_E();
  for (int64_t e = 0; e < kExperts; ++e)
    if (counts_E[e].item<int64_t>() == 0) out.insert(e);
  return out;
}

TEST(ExpertDropout, DropsThePairsOfMaskedExpertsAndScalesTheOthers) {
  const Routing before = round_robin();
  int64_t steps_with_some = 0;
  for (uint64_t step = 0; step < 20; ++step) {
    const Routing after = drop_experts(before, training(step), 0.25);
    moe::test::expect_valid(after, kTokens, kExperts);
    const std::set<int64_t> masked = absent(after);
    steps_with_some += !masked.empty();
    for (int64_t n = 0; n < before.pairs(); ++n) {
      const int64_t expert = before.experts_N[n].item<int64_t>();
      const bool kept = masked.count(expert) == 0;
      EXPECT_EQ(after.experts_N[n].item<int64_t>(), kept ? expert : kExperts);
      EXPECT_DOUBLE_EQ(after.weights_N[n].item<double>(),
                       kept ? before.weights_N[n].item<double>() / 0.75 : 0);
    }
  }
  EXPECT_GT(steps_with_some, 10);
}

TEST(ExpertDropout, MasksTheAskedShareAndNeverAll) {
  int64_t masked = 0;
  for (uint64_t step = 0; step < 500; ++step)
    masked +=
        static_cast<int64_t>(absent(drop_experts(round_robin(), training(step), 0.25)).size());
  EXPECT_NEAR(static_cast<double>(masked) / (500.0 * kExperts), 0.25, 0.03);
  for (uint64_t step = 0; step < 200; ++step)
    EXPECT_LT(absent(drop_experts(round_robin(), training(step), 0.99)).size(), size_t{kExperts});
}

TEST(ExpertDropout, DependsOnSeedStepAndLayerOnly) {
  const auto masked = [](const LayerContext& context) {
    return absent(drop_experts(round_robin(), context, 0.5));
  };
  LayerContext later = training(3);
  later.tokens.first_token = 100;  // another micro-batch or rank of the same step
  EXPECT_EQ(masked(training(3)), masked(later));
  std::set<std::set<int64_t>> of_steps, of_layers;
  for (uint32_t i = 0; i < 10; ++i) {
    of_steps.insert(masked(training(i)));
    of_layers.insert(masked(training(3, i)));
  }
  EXPECT_GT(of_steps.size(), 4u);
  EXPECT_GT(of_layers.size(), 4u);
}

TEST(ExpertDropout, LeavesEvaluationAndAShareOfZeroAlone) {
  const Routing before = round_robin();
  for (const Routing& after :
       {drop_experts(before, {}, 0.5), drop_experts(before, training(), 0)}) {
    EXPECT_TRUE(at::equal(after.experts_N, before.experts_N));
    EXPECT_TRUE(at::equal(after.weights_N, before.weights_N));
  }
}

TEST(ExpertDropout, TakesRaggedRoutingsAndNoTokens) {
  Routing ragged = round_robin();
  ragged.choices = 0;
  moe::test::expect_valid(drop_experts(ragged, training(1), 0.5), kTokens, kExperts);
  const Tensor none_TK = at::zeros({0, kChoices}, at::kLong);
  const Routing none = fixed_choices(none_TK, none_TK.to(at::kFloat), kExperts);
  EXPECT_EQ(drop_experts(none, training(1), 0.5).pairs(), 0);
}

TEST(ExpertDropout, SendsGradientToTheWeightsThatStay) {
  Routing routing = round_robin();
  routing.weights_N.set_requires_grad(true);
  const Routing after = drop_experts(routing, training(2), 0.5);
  ASSERT_FALSE(absent(after).empty());
  after.weights_N.sum().backward();
  const Tensor expected_N =
      at::where(after.experts_N.lt(kExperts), 2.0, at::zeros_like(routing.weights_N));
  EXPECT_TRUE(at::equal(routing.weights_N.grad(), expected_N));
}

TEST(ExpertDropout, RefusesWeightsOnInputs) {
  Routing routing = round_robin();
  routing.weight_on_input = true;
  EXPECT_ERROR(drop_experts(routing, training(1), 0.5), "weight_on = \"input\"");
  EXPECT_EQ(drop_experts(routing, training(1), 0).pairs(), routing.pairs());
}

}  // namespace

}  // namespace moe::routing::expert_dropout_test
