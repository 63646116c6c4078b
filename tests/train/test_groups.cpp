// Freezing and settings of parameters by name.
#include <cmath>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/formats/safetensors.h>
#include <moe/train/compare.h>
#include <moe/train/groups.h>
#include <moe/train/optimizer.h>

#include "tests/support/message_of.h"
#include "tests/train/parameters.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

Parameters parameters_with_two_routers() {
  at::manual_seed(1);
  return {learning("embedding", {5, 3}, kEmbeddingInfo),
          learning("layers.0.attention.w_q", {4, 3}, kMatrixInfo),
          learning("layers.0.moe.router.weight", {2, 3}, kRouterInfo),
          learning("layers.0.moe.experts.w_in", {2, 4, 3}, kStackInfo),
          learning("layers.1.moe.router.weight", {2, 3}, kRouterInfo),
          learning("norm.scale", {3}, kScaleInfo)};
}

std::map<std::string, at::Tensor> copies(const Parameters& parameters) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor, info] : parameters) out[name] = tensor.detach().clone();
  return out;
}

TEST(Groups, TheLastThatFitsCounts) {
  const std::vector<train::ParameterGroup> groups = {{.match = "layers.*", .lr_factor = 2},
                                                     {.match = "*.router.*", .lr_factor = 3}};
  EXPECT_EQ(train::group_of(groups, "embedding"), nullptr);
  EXPECT_EQ(train::group_of(groups, "layers.0.attention.w_q")->lr_factor, 2);
  EXPECT_EQ(train::group_of(groups, "layers.0.moe.router.weight")->lr_factor, 3);
}

TEST(Groups, NameModulesOrParametersOrSingleExperts) {
  const std::vector<train::ParameterGroup> groups = {
      {.match = "layers.1", .lr_factor = 2},
      {.match = "layers.1.moe.experts", .experts = {2, 5}, .lr_factor = 3}};
  EXPECT_EQ(train::group_of(groups, "layers.10.norm"), nullptr);
  EXPECT_EQ(train::group_of(groups, "layers.1"), &groups[0]);
  EXPECT_EQ(train::group_of(groups, "layers.1.moe.experts.w_in"), &groups[0]);
  EXPECT_EQ(train::group_of(groups, "layers.1.moe.experts.w_in", 4), &groups[0]);
  EXPECT_EQ(train::group_of(groups, "layers.1.moe.experts.w_in", 5), &groups[1]);
  EXPECT_EQ(train::group_of(groups, "layers.1.moe.router.weight", 5), &groups[0]);
}

TEST(Groups, MultiplyTheRatesOfRoutersAndExpertsAndReplaceTheDecay) {
  train::OptimizerOptions plain;
  plain.router_lr_factor = 0.5;
  plain.expert_lr_factor = 2;
  plain.weight_decay = 0;
  train::OptimizerOptions grouped = plain;
  grouped.groups = {{.match = "*.router.*", .lr_factor = 0.1},
                    {.match = "*experts*", .lr_factor = 4, .weight_decay = 0.5},
                    {.match = "norm.scale", .weight_decay = 0.25},
                    {.match = "layers.1.moe.router.weight", .lr_factor = 0}};
  auto one = parameters_with_two_routers(), two = parameters_with_two_routers();
  const auto before = copies(one);
  for (auto* parameters : {&one, &two})
    for (auto& [name, parameter, info] : *parameters)
      parameter.mutable_grad() = at::ones_like(parameter).detach();
  train::make_optimizer(one, plain)->step(0.01, 0);
  train::make_optimizer(two, grouped)->step(0.01, 0);
  const std::map<std::string, std::pair<double, double>> changed = {
      {"layers.0.moe.router.weight", {0.1, 0}},
      {"layers.1.moe.router.weight", {0, 0}},
      {"layers.0.moe.experts.w_in", {4, 0.5 * 0.01 * 2 * 4}},
      {"norm.scale", {1, 0.25 * 0.01}}};
  for (size_t i = 0; i < one.size(); ++i) {
    const auto& name = one[i].name;
    const auto found = changed.find(name);
    const auto [factor, decay] = found == changed.end() ? std::pair{1.0, 0.0} : found->second;
    const at::Tensor step = one[i].tensor.detach() - before.at(name);
    const at::Tensor expected = before.at(name) * (1 - decay) + factor * step;
    EXPECT_LT((two[i].tensor.detach() - expected).abs().max().item<double>(), 1e-12) << name;
  }
}

TEST(Groups, FrozenParametersHaveNoGradientAndNoState) {
  auto parameters = parameters_with_two_routers();
  const std::vector<train::ParameterGroup> groups = {{.match = "*", .frozen = true},
                                                     {.match = "*.moe.*", .frozen = false}};
  EXPECT_EQ(train::freeze(parameters, groups), 6 + 24 + 6);
  EXPECT_FALSE(parameters[0].tensor.requires_grad());
  EXPECT_TRUE(parameters[3].tensor.requires_grad());
  const auto optimizer = train::make_optimizer(parameters, {});
  EXPECT_EQ(optimizer->parameters().size(), 3u);
  EXPECT_EQ(optimizer->state().size(), 7u);
  for (const auto& state : optimizer->state())
    EXPECT_TRUE(state.name == "steps" || contains(state.name, ".moe.")) << state.name;
}

TEST(Groups, RefuseAPatternThatFitsNothingAndNameWhatIsNear) {
  auto parameters = parameters_with_two_routers();
  const auto message =
      message_of([&] { train::freeze(parameters, {{.match = "layers.*.router.weigth"}}); });
  EXPECT_PRED2(contains, message, "got 'layers.*.router.weigth', which fits none");
  EXPECT_PRED2(contains, message, "\n  layers.*.moe.router.weight");
  EXPECT_FALSE(contains(message, "embedding"));
  EXPECT_ERROR(train::freeze(parameters, {{.match = "nothing"}}), "\n  embedding");
  EXPECT_ERROR(train::freeze(parameters, {{.match = "*", .frozen = true}}),
               "expected parameters to train, got 6 that are all frozen");
}

TEST(Groups, AreReadFromAConfigurationAndRefuseBadValues) {
  Table group;
  group.set("match", "*.router.*");
  group.set("frozen", true);
  Table table;
  table.set("groups", Array{Value(group)});
  train::OptimizerOptions options;
  read_fields(options, table, "train.optimizer");
  ASSERT_EQ(options.groups.size(), 1u);
  EXPECT_TRUE(options.groups[0].frozen);
  EXPECT_EQ(options.groups[0].weight_decay, -1);
  const auto refuse = [&](const char* key, Value value) {
    Table bad = group;
    bad.set(key, std::move(value));
    table.set("groups", Array{Value(bad)});
    return message_of([&] { read_fields(options, table, "train.optimizer"); });
  };
  EXPECT_PRED2(contains, refuse("match", ""), "'train.optimizer.groups[0].match'");
  EXPECT_PRED2(contains, refuse("lr_factor", -1.0),
               "groups[0].lr_factor' to be finite and at least 0");
  EXPECT_PRED2(contains, refuse("weight_decay", -2.0), "or -1 to leave it, got -2");
  EXPECT_PRED2(contains, refuse("freeze", true), "freeze");
}

/// Every tensor of the newest checkpoint's model or optimizer, by name.
std::map<std::string, at::Tensor> saved_tensors(const Path& run, const std::string& prefix) {
  const Path folder = *checkpoint::latest_checkpoint(run / "checkpoints");
  std::map<std::string, at::Tensor> out;
  for (const auto& [file, info] : checkpoint::verify_manifest(folder).files) {
    if (file.rfind(prefix, 0) != 0 || !file.ends_with(".safetensors")) continue;
    const auto opened = formats::SafetensorsFile::open(folder / file);
    for (const auto& name : opened.names()) out[name] = opened.tensor(name).clone();
  }
  return out;
}

TEST(Groups, ARunLeavesFrozenParametersBitForBitAndSavesThem) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 5;
  options.train.optimizer.groups = {{.match = "layers.0.*", .frozen = true},
                                    {.match = "embedding", .frozen = true}};
  train::Run(options, folder.path() / "run").start();

  const auto start = models::make_model(options.model, 1);
  auto trained = saved_tensors(folder.path() / "run", "model.");
  for (const auto& [name, parameter, info] : parameters_of(*start)) {
    const bool frozen = name == "embedding" || name.rfind("layers.0.", 0) == 0;
    ASSERT_TRUE(trained.contains(name)) << name;
    EXPECT_EQ(trained[name].equal(parameter), frozen) << name;
  }
  for (const auto& [name, state] : saved_tensors(folder.path() / "run", "optimizer."))
    EXPECT_FALSE(name.rfind("layers.0.", 0) == 0 || name.rfind("embedding", 0) == 0) << name;
}

TEST(Groups, AResumedRunIsTheSameAndRefusesOtherGroups) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 6;
  options.train.optimizer.groups = {{.match = "*.attention.*", .frozen = true},
                                    {.match = "*.experts.*", .lr_factor = 0.5}};
  train::Run(options, folder.path() / "whole").start();
  train::Run cut(options, folder.path() / "cut");
  cut.start({.max_steps = 3});
  auto other = options;
  other.train.optimizer.groups[0].frozen = false;
  EXPECT_ERROR(train::Run(other, folder.path() / "cut").resume(), "train.optimizer.groups");
  cut.resume();
  EXPECT_EQ(tensor_files(folder.path() / "whole"), tensor_files(folder.path() / "cut"));
}

TEST(Groups, ARunMayChangeWhatItRecomputes) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 4;
  train::Run(options, folder.path() / "whole").start();
  options.train.recompute = "blocks";
  train::Run(options, folder.path() / "cut").start({.max_steps = 2});
  options.train.recompute = "moe";
  train::Run(options, folder.path() / "cut").resume();
  EXPECT_EQ(tensor_files(folder.path() / "whole"), tensor_files(folder.path() / "cut"));
  options.train.recompute = "all";
  EXPECT_ERROR(train::Run(options, folder.path() / "new"), "'train.recompute'");
}

TEST(Groups, TheDenseTwinTakesThoseThatFitIt) {
  const auto parameters = parameters_with_two_routers();
  const std::vector<train::ParameterGroup> groups = {{.match = "*.gate"}, {.match = "norm.*"}};
  const auto kept = train::fitting(groups, parameters);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].match, "norm.*");

  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 2;
  options.train.accumulation = 1;
  options.train.optimizer.groups = {{.match = "*.router.*", .frozen = true}};
  const auto pair = train::compare_pair(options, folder.path() / "pair", 1, {});
  EXPECT_TRUE(std::isfinite(pair.dense_best));
}

}  // namespace
}  // namespace moe::test
