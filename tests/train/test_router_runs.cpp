// Routers and losses whose state the trainer moves: thirty steps, interrupted and not; and on
// ranks. E experts.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/balance/terms.h>
#include <moe/formats/safetensors.h>
#include <moe/parallel/threads.h>
#include <moe/routing/routers.h>
#include <moe/train/fit.h>
#include <moe/train/revive.h>

#include "tests/support/message_of.h"
#include "tests/train/run_files.h"
#include "tests/train/tiny_bench.h"

namespace moe::test::router_runs_test {
namespace {

using at::Tensor;

/// Thirty steps with `router`; `change` may say more of the layer.
template <class Change>
train::RunOptions run_with(const Path& folder, const RouterSpec& router, const Change& change) {
  auto run = tiny_run(folder);
  change_model(run, [&](auto& model) {
    model.uniform.moe.router = router;
    model.uniform.moe.top_k = 1;
    change(model.uniform.moe);
  });
  run.train.steps = 30;
  run.train.checkpoint_every = 10;
  run.train.eval_every = 0;
  run.train.tensorboard.enabled = false;
  return run;
}

struct Case {
  const char* name;
  RouterSpec router;
  std::vector<BalanceSpec> balance;
  double consistency = 0;
  int64_t top_k = 1;
};

std::vector<Case> cases() {
  return {{"relu", ReluRouter{}, {ReluL1Loss{.start = 1e-3}}, 0, 2},
          {"dynmoe", DynMoERouter{.start_experts = 3, .update_every = 3}, {GateDiversityLoss{}}},
          {"thor", ThorRouter{}, {}, 2.0},
          {"policy_gradient", PolicyGradientRouter{.weight = "equal"}, {}},
          {"quantile", QuantileRouter{}, {}, 0, 2},
          {"base", BaseRouter{.group = "batch"}, {}},
          {"sinkhorn", SinkhornRouter{}, {}, 0, 2},
          {"sparsemixer", SparsemixerRouter{}, {}, 0, 2},
          {"token_rounding", TokenRoundingRouter{.tile = 4}, {}, 0, 2}};
}

class RouterRun : public testing::TestWithParam<Case> {};

TEST_P(RouterRun, LearnsAndResumesBitForBit) {
  const auto& [name, router, balance, consistency, top_k] = GetParam();
  const TemporaryFolder folder;
  auto options =
      run_with(folder.path(), router, [&, &balance = balance, &top_k = top_k](auto& moe) {
        moe.balance = balance;
        moe.top_k = top_k;
      });
  options.train.consistency.coefficient = consistency;
  const auto summary = train::Run(options, folder.path() / "whole").start().metrics;
  const auto* loss = summary.find("lm_loss");
  ASSERT_TRUE(loss);
  EXPECT_EQ(loss->count(), 30);
  EXPECT_LT(loss->last(), loss->max() - 0.2);
  train::Run cut(options, folder.path() / "cut");
  cut.start({.max_steps = 13});
  cut.resume();
  EXPECT_EQ(tensor_files(folder.path() / "whole"), tensor_files(folder.path() / "cut"));
  EXPECT_EQ(metrics_without_times(folder.path() / "whole"),
            metrics_without_times(folder.path() / "cut"));
}
INSTANTIATE_TEST_SUITE_P(Kinds, RouterRun, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

/// One step of the trainer; what its routers started anew begins with no moments.
void take_step(Bench& bench, train::Optimizer& optimizer, int64_t step) {
  const auto result = bench.run(step, 1);
  optimizer.step(0.01, step);
  optimizer.zero_gradients();
  std::vector<StepStatistics> statistics;
  for (const auto& layer : result.layers)
    statistics.push_back({.counts_E = layer.load_E.to(at::kLong),
                          .step = step,
                          .tokens = static_cast<int64_t>(layer.tokens),
                          .task_loss = result.task_loss,
                          .record_R = layer.record_R});
  bench.model->end_step(statistics);
  train::clear_started(*bench.model, optimizer);
}

/// A buffer of the first MoE layer.
Tensor state(const Bench& bench, const std::string& name) {
  for (const auto& buffer : bench.model->named_buffers())
    if (buffer.key().ends_with(name)) return buffer.value();
  ADD_FAILURE() << "no " << name;
  return {};
}

/// The same after `steps` steps.
Tensor state_after(Bench& bench, const std::string& name, int64_t steps) {
  const auto optimizer = train::make_optimizer(bench.parameters, {.lr = 0.01});
  for (int64_t step = 0; step < steps; ++step) take_step(bench, *optimizer, step);
  return state(bench, name);
}

TEST(RouterState, FollowsTheStepsOfATraining) {
  const TemporaryFolder folder;
  const auto none = [](auto& moe) { moe.balance = {}; };
  {
    // Half of the gates are open at the start, more than one of four: lambda rises.
    Bench bench(
        run_with(folder.path(), ReluRouter{}, [](auto& moe) { moe.balance = {ReluL1Loss{}}; }));
    EXPECT_NEAR(state_after(bench, "balance_relu_l1.lambda", 3).item<double>(),
                1e-8 * std::pow(1.2, 3), 1e-14);
  }
  {
    Bench bench(run_with(folder.path(), PolicyGradientRouter{}, none));
    const double baseline = state_after(bench, "router.baseline", 4).item<double>();
    EXPECT_GT(baseline, 3);
    EXPECT_LT(baseline, 7);
  }
  {
    Bench bench(run_with(folder.path(), QuantileRouter{.renormalise = false}, none));
    EXPECT_GT(state_after(bench, "router.selection_bias", 2).abs().max().item<double>(), 0);
  }
}

TEST(DynMoERun, AnExpertLeavesAndComesBackWithoutMoments) {
  const TemporaryFolder folder;
  const DynMoERouter router{.at_least_one = "evaluation", .start_experts = 3, .update_every = 2};
  Bench bench(run_with(folder.path(), router, [](auto& moe) { moe.balance = {}; }));
  const auto optimizer = train::make_optimizer(bench.parameters, {.lr = 0.01});
  const Tensor active_E = state(bench, "router.active");
  ASSERT_EQ(active_E.size(0), 4);
  const auto active = [&](int64_t e) { return active_E[e].item<int64_t>() == 1; };
  size_t threshold = 0, stack = 0;  // of the layer whose buffer that is
  for (size_t i = 0; i < bench.parameters.size(); ++i) {
    const auto& [name, tensor, info] = bench.parameters[i];
    if (!threshold && name.ends_with("router.threshold")) threshold = i;
    if (!stack && info.per_expert && tensor.dim() == 3) stack = i;
  }
  const auto moved = [&](int64_t e) {
    return optimizer->moments(stack).front()[e].ne(0).any().item<bool>();
  };

  for (int64_t step = 0; step < 4; ++step) take_step(bench, *optimizer, step);
  ASSERT_TRUE(active(0) && active(1) && moved(0) && moved(1));

  // Nobody passes these two any more. Both leave; the first of the free ones comes in at once.
  {
    const at::NoGradGuard no_grad;
    bench.parameters[threshold].tensor.slice(0, 0, 2).fill_(50);
  }
  for (int64_t step = 4; step < 6; ++step) take_step(bench, *optimizer, step);
  EXPECT_TRUE(active(0) && !active(1));
  EXPECT_TRUE(!moved(0) && moved(1));
  EXPECT_EQ(bench.parameters[threshold].tensor[0].item<double>(), 0);

  take_step(bench, *optimizer, 6);
  EXPECT_TRUE(moved(0)) << "it learns again";
  take_step(bench, *optimizer, 7);
  EXPECT_TRUE(active(0) && active(1)) << "the other is the first of the free ones now";
  EXPECT_FALSE(moved(1));
  for (int64_t step = 8; step < 10; ++step) take_step(bench, *optimizer, step);
  EXPECT_TRUE(active(1) && moved(1)) << "it was used";
}

TEST(Consistency, IsTheMeanOfTwoPassesAndTheirDivergence) {
  const TemporaryFolder folder;
  auto options = run_with(folder.path(), ThorRouter{}, [](auto& moe) { moe.balance = {}; });
  options.train.dtype = "float64";
  Bench bench(options);
  const std::vector<data::Batch> batches = {bench.batch(0, 0, 2), bench.batch(0, 1, 2)};
  const auto run = [&](double coefficient) {
    for (const auto& parameter : bench.parameters) parameter.tensor.mutable_grad() = Tensor();
    return train::forward_backward({.model = *bench.model,
                                    .objective = *bench.objective,
                                    .layout = bench.group,
                                    .seed = 1,
                                    .consistency = coefficient},
                                   batches, 0, bench.parameters);
  };
  const auto one = run(0), two = run(0.5), more = run(1.5);
  EXPECT_TRUE(one.balance.empty());
  ASSERT_EQ(two.balance.size(), 1u);
  EXPECT_EQ(two.balance[0].first, "consistency");
  const double divergence = two.balance[0].second;
  EXPECT_GT(divergence, 0);
  EXPECT_NE(two.task_loss, one.task_loss);
  EXPECT_NEAR(two.task_loss, more.task_loss, 1e-12);
  EXPECT_NEAR(two.loss, two.task_loss + 0.5 * divergence, 1e-12);
  EXPECT_NEAR(more.loss, two.task_loss + 1.5 * divergence, 1e-12);

  // The gradient along itself is what the loss does.
  run(0.5);
  const double step = 1e-5;
  double slope = 0;
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor, info] : bench.parameters) {
      const Tensor gradient = tensor.grad();
      if (!gradient.defined()) continue;
      slope += gradient.square().sum().item<double>();
      tensor.detach().add_(gradient, step);
    }
  }
  EXPECT_NEAR((run(0.5).loss - two.loss) / step, slope, 1e-3 * slope);
}

/// An objective of numbers.
struct Numbers final : objectives::Objective {
  int64_t targets(const data::Batch&) const override { return 1; }
  objectives::ObjectiveResult forward(models::Model&, const models::ModelOutput&,
                                      const data::Batch&, at::ScalarType) const override {
    return {};
  }
};

TEST(Consistency, IsRefusedWithoutADistribution) {
  train::TrainOptions run;
  run.objective.kind = "regression";
  run.consistency.coefficient = 2;
  EXPECT_ERROR(train::check_compares(run, Numbers()), "predicts no distribution to compare, got 2");
  run.consistency.coefficient = 0;
  train::check_compares(run, Numbers());
  train::ConsistencyOptions options{.coefficient = -1};
  EXPECT_ERROR(options.validate("train.consistency"), "train.consistency.coefficient");
}

TEST(ClearMoments, LeavesTheNumbersAndTheOtherExperts) {
  const TemporaryFolder folder;
  Bench bench(run_with(folder.path(), TopKRouter{.renormalise = false}, [](auto&) {}));
  const auto optimizer = train::make_optimizer(bench.parameters, {});
  bench.run(0, 1);
  optimizer->step(0.01, 0);
  std::vector<Tensor> before;
  for (const auto& parameter : bench.parameters) before.push_back(parameter.tensor.clone());
  train::clear_moments(1, *bench.model->blocks()[1], *optimizer);
  int64_t cleared = 0;
  for (size_t i = 0; i < bench.parameters.size(); ++i) {
    const auto& [name, tensor, info] = optimizer->parameters()[i];
    EXPECT_TRUE(at::equal(tensor, before[i])) << name;
    for (const Tensor& moment : optimizer->moments(i)) {
      if (!info.per_expert || !name.starts_with("layers.1.")) {
        EXPECT_TRUE(moment.ne(0).any().item<bool>()) << name;
        continue;
      }
      ++cleared;
      EXPECT_TRUE(moment[1].eq(0).all().item<bool>()) << name;
      EXPECT_TRUE(moment.ne(0).any().item<bool>()) << name;
    }
  }
  EXPECT_GE(cleared, 6);  // two moments of the router's rows and of two stacks
}

}  // namespace
}  // namespace moe::test::router_runs_test
