#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <moe/train/monitor.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

using at::Tensor;

/// max |a - b| / max |b|.
double relative(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1e-12, b.abs().max().item<double>());
}

TEST(Step, LossAndGradientsAgreeForOneAndTwoThreads) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  at::set_num_threads(1);
  Bench one(options);
  const auto first = one.run(0, 2);
  at::set_num_threads(2);
  Bench two(options);
  const auto second = two.run(0, 2);
  EXPECT_LE(std::abs(first.loss - second.loss), 1e-5 * std::abs(first.loss));
  for (size_t i = 0; i < one.parameters.size(); ++i) {
    const auto &a = one.parameters[i].tensor.grad(), &b = two.parameters[i].tensor.grad();
    ASSERT_EQ(a.defined(), b.defined());
    if (a.defined()) {
      EXPECT_LE(relative(a, b), 1e-5) << one.parameters[i].name;
    }
  }
}

TEST(Step, TenLossesInFloat64AgreeForOneAndTwoThreads) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path(), "float64");
  std::vector<std::vector<double>> losses(2);
  for (int threads : {1, 2}) {
    at::set_num_threads(threads);
    Bench bench(options);
    const auto optimizer = train::make_optimizer(bench.parameters, {});
    for (int64_t step = 0; step < 10; ++step) {
      losses[static_cast<size_t>(threads) - 1].push_back(
          bench.run(/*step=*/0, 1).loss);  // the same batch, so that the loss must fall
      optimizer->step(1e-3, step);
      optimizer->zero_gradients();
    }
  }
  for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(losses[0][i], losses[1][i], 1e-9) << "step " << i;
  EXPECT_LT(losses[0][9], losses[0][0]);
}

TEST(Step, MicroBatchesGiveTheGradientsOfOneLargeBatch) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path(), "float64");
  // A mean over tokens; the Switch loss is a product of means.
  change_model(options, [](auto& model) { model.uniform.moe.balance = {{"z_loss", 0.01, {}}}; });
  options.train.batch = 8;
  Bench whole(options);
  options.train.batch = 4;
  Bench parts(options);
  const auto one = whole.run(3, 1), two = parts.run(3, 2);
  EXPECT_NEAR(one.loss, two.loss, 1e-12);
  EXPECT_NEAR(one.gradient_norm, two.gradient_norm, 1e-10);
  for (size_t i = 0; i < whole.parameters.size(); ++i)
    EXPECT_LE(relative(parts.parameters[i].tensor.grad(), whole.parameters[i].tensor.grad()), 1e-9)
        << whole.parameters[i].name;
}

TEST(Step, ABatchWithoutTargetsHasNoTokenLoss) {
  const TemporaryFolder folder;
  Bench bench(tiny_run(folder.path()));
  auto batch = bench.batch(0);
  batch.targets.fill_(data::kIgnoredTarget);
  const auto result = bench.run({batch}, 0);
  EXPECT_EQ(result.task_loss, 0);
  EXPECT_TRUE(result.finite);
}

TEST(Step, HandsTheDomainsOfTheRowsToTheTermsThatAskForThem) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path(), "float64");
  Table over;
  over.set("over", "domains");
  change_model(options, [&](auto& model) {
    model.uniform.moe.balance = {{"specialisation", 0.1, over}};
  });
  Bench bench(options);
  auto batch = bench.batch(0);
  auto& tokens = batch.inputs.tokens;
  ASSERT_GT(tokens.domains_T.max().item<int64_t>(), tokens.domains_T.min().item<int64_t>())
      << "a batch of one domain tells nothing apart";
  EXPECT_LT(bench.run({batch}, 0).balance[0].second, 0);
  tokens.domains_T = Tensor();
  tokens.num_domains = 0;
  EXPECT_ERROR(bench.run({batch}, 0), "expected the domain of each token for over");
  options.train.steps = 2;
  options.train.eval_every = 1;
  EXPECT_EQ(train::Run(options, folder.path() / "run").start().record.step, 2);
}

TEST(Step, TermsAreMeansOverTheLayersThatHaveThem) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path(), "float64");
  const auto block = [](const std::string& term) {
    layers::MoELayerOptions moe{.num_experts = 4, .top_k = 2};
    moe.balance = {{term, 0.01, {}}};
    layers::BlockSpec spec;
    spec.feed_forward = moe;
    return spec;
  };
  change_model(options, [&](auto& model) {
    model.uniform = {};
    model.blocks = {block("switch"), block("entropy"), block("entropy")};
  });
  Bench bench(options);
  const auto result = bench.run(0, 2);
  ASSERT_EQ(result.balance.size(), 2u);
  EXPECT_EQ(result.balance[0].first, "switch");
  EXPECT_EQ(result.balance[1].first, "entropy");
  // Near what they are at balance: 1, and -ln 4.
  EXPECT_NEAR(result.balance[0].second, 1, 0.2);
  EXPECT_NEAR(result.balance[1].second, -std::log(4.0), 0.2);
}

class NotFinite : public testing::TestWithParam<const char*> {};

TEST_P(NotFinite, StepsAreSkippedOrRolledBackAndThenGivenUp) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.on_nan = GetParam();
  options.train.max_bad_steps = 3;
  options.train.optimizer.lr = 1e30;  // the first update destroys the model
  options.train.optimizer.clip = 0;
  options.train.schedule.warmup = 0;
  EXPECT_ERROR(train::Run(options, folder.path() / "run").start(),
               "expected finite numbers, found loss");
}
INSTANTIATE_TEST_SUITE_P(Answers, NotFinite, testing::Values("skip", "rollback", "stop"));

train::LayerLoad load(std::vector<double> load_E) {
  train::LayerLoad out;
  out.load_E = at::tensor(load_E, at::kDouble);
  return out;
}

TEST(LayerLoad, MeasuresImbalance) {
  EXPECT_DOUBLE_EQ(load({5, 5, 5, 5}).max_over_mean(), 1);
  EXPECT_DOUBLE_EQ(load({5, 5, 5, 5}).entropy(), 1);
  EXPECT_DOUBLE_EQ(load({8, 0, 0, 0}).max_over_mean(), 4);
  EXPECT_DOUBLE_EQ(load({8, 0, 0, 0}).entropy(), 0);
  EXPECT_EQ(load({8, 0, 2, 0}).unused(), 2);
  EXPECT_DOUBLE_EQ(load({0, 0}).max_over_mean(), 0);
}

TEST(ExpertMonitor, NamesAnExpertUnusedForSoManyStepsOnce) {
  train::ExpertMonitor monitor({.unused_steps = 3, .overload = 0});
  for (int64_t step = 1; step <= 5; ++step) {
    const auto dead = monitor.observe({load({4, 0, 6})}, step);
    ASSERT_EQ(dead.size(), step == 3 ? 1u : 0u) << step;
    if (step == 3) {
      EXPECT_EQ(dead[0].expert, 1);
      EXPECT_EQ(dead[0].busiest, 2);
    }
  }
  EXPECT_EQ(monitor.state(), (std::vector<int64_t>{0, 5, 0}));
  monitor.observe({load({4, 1, 6})}, 6);
  EXPECT_EQ(monitor.state(), (std::vector<int64_t>{0, 0, 0}));
}

TEST(ExpertMonitor, GoesOnCountingAfterResume) {
  train::ExpertMonitor monitor({.unused_steps = 3, .overload = 0});
  monitor.restore({0, 2, 0, 1});
  const auto dead = monitor.observe({load({1, 0}), load({1, 0})}, 9);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].layer, 0);
}

TEST(ExpertMonitor, KeepsWhatItRestoredUntilAStep) {
  train::ExpertMonitor monitor({.unused_steps = 3, .overload = 0});
  monitor.restore({0, 2, 0, 1});
  EXPECT_EQ(monitor.state(), (std::vector<int64_t>{0, 2, 0, 1}));
}

}  // namespace
}  // namespace moe::test
