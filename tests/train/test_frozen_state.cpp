// State that is frozen, and idle experts, in whole runs. E experts.
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <moe/experts/modules.h>
#include <moe/models/load.h>
#include <moe/routing/routers.h>
#include <moe/train/groups.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_bench.h"

namespace moe::test::frozen_state_test {
namespace {

using at::Tensor;

/// How far numbers are from whole ones.
double off_whole(const Tensor& numbers) {
  return (numbers - numbers.round()).abs().max().item<double>();
}

/// Every tensor of the model that a run ended with, by name.
std::map<std::string, Tensor> saved_model(const Path& run) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor, info] : tensors_of(*models::load(run).model))
    out[name] = tensor.detach();
  return out;
}

TEST(Frozen, ModulesKeepTheirStateWhateverMovesIt) {
  experts::register_module_experts("with_statistics", "for this test", [](int64_t expert) {
    at::manual_seed(static_cast<uint64_t>(expert));
    return torch::nn::Sequential(torch::nn::Linear(16, 16), torch::nn::BatchNorm1d(16));
  });
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 6;
  change_model(options, [](auto& model) {
    model.uniform.moe.expert.kind = "with_statistics";
    model.uniform.moe.balance.push_back({"usage_variance", 0.01, {}});
  });
  options.train.optimizer.groups = {{.match = "layers.0.moe", .frozen = true}};
  train::Run run(options, folder.path() / "run");
  run.start({.max_steps = 3});
  run.resume();
  const auto start = models::make_model(options.model, 1);
  const auto saved = saved_model(folder.path() / "run");
  int64_t frozen = 0, moved = 0;
  for (const auto& [name, tensor, info] : tensors_of(*start)) {
    if (info.role != Role::kState) continue;
    SCOPED_TRACE(name);
    const bool is_frozen = name.starts_with("layers.0.");
    EXPECT_EQ(saved.at(name).equal(tensor), is_frozen);
    (is_frozen ? frozen : moved) += 1;
  }
  // Selection bias, usage and its steps, and three statistics of each of four experts.
  EXPECT_EQ(frozen, 3 + 3 * 4);
  EXPECT_EQ(moved, 3 + 3 * 4);
}

TEST(Frozen, ABiasMayMoveWhereItsRouterDoesNot) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 4;
  options.train.optimizer.groups = {
      {.match = "*.router", .frozen = true},
      {.match = "*.selection_bias"},
      {.match = "layers.1.moe.router", .experts = {2}, .frozen = true}};
  train::Run(options, folder.path() / "run").start();
  const auto start = models::make_model(options.model, 1);
  const auto saved = saved_model(folder.path() / "run");
  const auto before = tensors_of(*start);
  for (const auto& [name, tensor, info] : before) {
    if (info.part != Part::kRouter) continue;
    SCOPED_TRACE(name);
    const Tensor now = saved.at(name);
    EXPECT_EQ(now.equal(tensor), info.role != Role::kState);
    if (name == "layers.1.moe.router.selection_bias") {
      EXPECT_TRUE(now[2].equal(tensor[2]));
    }
  }
}

TEST(Frozen, StateHasNoRatesAndMayBeNamedAlone) {
  const auto model = models::make_model(
      models::DecoderOptions{.d_model = 8,
                             .uniform = {.layers = 1,
                                         .heads = 2,
                                         .moe = {.num_experts = 4, .router = SigmoidRouter{}}}},
      1);
  const auto tensors = tensors_of(*model);
  EXPECT_EQ(
      message_of([&] { train::freeze(tensors, {{.match = "*.selection_bias", .frozen = true}}); }),
      "");
  EXPECT_ERROR(train::freeze(tensors, {{.match = "*.selection_bias", .lr_factor = 0.5}}),
               "got state, which moves by rules of its own");
  EXPECT_ERROR(train::freeze(tensors, {{.match = "*.selection_bias", .experts = {4}}}),
               "as 'layers.0.moe.router.selection_bias' has, got 4");
}

TEST(Types, TrainingInBfloat16KeepsStateAndParametersInFloat32) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path(), "bfloat16");
  options.train.steps = 9;
  change_model(options, [](auto& model) {
    model.uniform.moe.router.options.set("bias_rate", 0.001);
    model.uniform.moe.balance.push_back({"usage_variance", 0.01, {}});
  });
  train::Run(options, folder.path() / "run").start();
  const auto model = models::load(folder.path() / "run").model;
  EXPECT_EQ(models::stored_type(folder.path() / "run"), at::kFloat);
  int64_t biases = 0;
  for (const auto& [name, tensor, info] : tensors_of(*model)) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
    if (info.role == Role::kState && info.part == Part::kRouter) {
      // Whole steps, none of which was rounded away.
      const Tensor steps_E = tensor / 0.001;
      EXPECT_LT(off_whole(steps_E), 1e-3) << name;
      EXPECT_LE(steps_E.abs().max().item<double>(), 9.001) << name;
      ++biases;
    }
  }
  EXPECT_EQ(biases, 2);
}

/// A run in which half of the experts are never reached: ids are bytes, and there are twice as many
/// experts.
train::RunOptions run_with_idle_experts(const Path& folder, bool decay) {
  auto options = tiny_run(folder);
  change_model(options, [](auto& model) {
    model.d_model = 8;
    model.uniform.moe.num_experts = 512;
    model.uniform.moe.top_k = 1;
    model.uniform.moe.expert.d_ff = 2;
    model.uniform.moe.router = HashRouter{.table = "modulo"};
  });
  options.train.steps = 3;
  options.train.eval_every = 0;
  options.train.optimizer.decay_idle_experts = decay;
  options.train.schedule.warmup = 0;
  return options;
}

TEST(IdleExperts, OfARunDecayOrWait) {
  for (const bool decay : {true, false}) {
    SCOPED_TRACE(decay);
    const TemporaryFolder folder;
    const auto options = run_with_idle_experts(folder.path(), decay);
    train::Run(options, folder.path() / "run").start();
    const auto saved = saved_model(folder.path() / "run");
    const auto start = models::make_model(options.model, 1);
    int64_t stacks = 0;
    for (const auto& [name, tensor, info] : parameters_of(*start)) {
      if (info.part != Part::kExperts) continue;
      ++stacks;
      const Tensor now = saved.at(name).slice(0, 256), old = tensor.detach().slice(0, 256);
      EXPECT_EQ(now.equal(old), !decay) << name;
      EXPECT_FALSE(saved.at(name)[101].equal(tensor.detach()[101])) << "the letter e";
    }
    EXPECT_EQ(stacks, 4);
  }
}

TEST(IdleExperts, AreCountedBehindDropsOverMicroBatchesAndRanks) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path(), "float64");
  change_model(options, [](auto& model) {
    model.uniform.moe.expert_dropout = 0.5;
    model.uniform.moe.capacity.factor = 0.5;
    model.uniform.moe.capacity.order = "token";
  });
  Bench bench(options);
  std::vector<data::Batch> batches = {bench.batch(0, 0, 2), bench.batch(0, 1, 2)};
  const auto result = train::forward_backward({.model = *bench.model,
                                               .objective = *bench.objective,
                                               .layout = bench.group,
                                               .seed = 1,
                                               .count_tokens = true},
                                              batches, 0, bench.parameters);
  ASSERT_EQ(result.expert_tokens.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const Tensor tokens_E = result.expert_tokens[i], chosen_E = result.layers[i].load_E;
    EXPECT_TRUE(tokens_E.le(chosen_E.to(at::kLong)).all().item<bool>());
    EXPECT_LT(tokens_E.sum().item<int64_t>(), chosen_E.sum().item<double>());
    // Whoever no token reached has no gradient.
    for (const auto& [name, tensor, info] : parameters_of(*bench.model->blocks()[i])) {
      if (info.part != Part::kExperts) continue;
      for (int64_t e = 0; e < 4; ++e)
        EXPECT_EQ(tensor.grad()[e].ne(0).any().item<bool>(), tokens_E[e].item<int64_t>() > 0)
            << name << ' ' << e;
    }
  }
  EXPECT_TRUE(bench.run(batches, 0).expert_tokens.empty());
}

}  // namespace
}  // namespace moe::test::frozen_state_test
