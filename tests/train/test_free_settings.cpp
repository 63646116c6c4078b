// What may change when a run is resumed leaves its parameters alone.
#include <functional>
#include <map>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <moe/config/overrides.h>
#include <moe/formats/safetensors.h>

#include "tests/support/message_of.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

using Change = std::function<void(train::RunOptions&)>;

/// A run of 8 steps.
train::RunOptions base_run(const Path& folder, const std::string& dtype = "float32") {
  auto options = tiny_run(folder, dtype);
  change_model(options, [](auto& model) {
    model.uniform.moe.num_experts = 16;
    model.uniform.moe.router.kind = "topk";
  });
  options.train.steps = 8;
  options.train.accumulation = 1;
  options.train.schedule.kind = "constant";
  return options;
}

/// By the name of the setting: what is changed in the middle.
const std::vector<std::pair<std::string, Change>> kChanges = {
    {"steps", [](auto& o) { o.train.steps = 20; }},
    {"recompute", [](auto& o) { o.train.recompute = "blocks"; }},
    {"log_every", [](auto& o) { o.train.log_every = 3; }},
    {"eval_every", [](auto& o) { o.train.eval_every = 1; }},
    {"no evaluation", [](auto& o) { o.train.eval_every = 0; }},
    {"eval_batches", [](auto& o) { o.train.eval_batches = -1; }},
    {"checkpoint_every", [](auto& o) { o.train.checkpoint_every = 1; }},
    {"no checkpoints", [](auto& o) { o.train.checkpoint_every = 0; }},
    {"keep", [](auto& o) { o.train.keep = 1; }},
    {"keep_best", [](auto& o) { o.train.keep_best = true; }},
    {"early_stop", [](auto& o) { o.train.early_stop = 100; }},
    {"on_nan", [](auto& o) { o.train.on_nan = "stop"; }},
    {"max_bad_steps", [](auto& o) { o.train.max_bad_steps = 1; }},
    {"schedule.keep", [](auto& o) { o.train.schedule.keep = true; }},
    {"schedule.steps", [](auto& o) { o.train.schedule.steps = 30; }},
    {"monitor.overload", [](auto& o) { o.train.monitor.overload = 1; }},
    {"monitor.every", [](auto& o) { o.train.monitor.every = 1; }},
    {"tensorboard.enabled", [](auto& o) { o.train.tensorboard.enabled = false; }},
    {"tensorboard.sample_tokens", [](auto& o) { o.train.tensorboard.sample_tokens = 0; }},
    {"tensorboard.sample_prompt", [](auto& o) { o.train.tensorboard.sample_prompt = "x"; }},
};

TEST(FreeSettings, LeaveTheParametersBitForBit) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  const auto options = base_run(folder.path());
  train::Run(options, folder / "whole").start();
  const auto whole = tensor_files(folder / "whole");
  for (const auto& [name, change] : kChanges) {
    SCOPED_TRACE(name);
    const Path run = folder / "cut";
    train::Run(options, run).start({.max_steps = 3});
    auto changed = options;
    change(changed);
    ASSERT_EQ(train::Run(changed, run).resume({.max_steps = 8}).record.step, 8);
    EXPECT_EQ(tensor_files(run), whole);
    std::filesystem::remove_all(run);
  }
}

TEST(FreeSettings, TheNumberOfThreadsChangesRoundingAlone) {
  const TemporaryFolder folder;
  auto options = base_run(folder.path(), "float64");
  options.train.threads = 2;
  train::Run(options, folder / "whole").start();
  train::Run(options, folder / "cut").start({.max_steps = 3});
  options.train.threads = 1;
  train::Run(options, folder / "cut").resume();
  at::set_num_threads(2);
  const auto saved = [&](const char* run) {
    const Path checkpoint = *checkpoint::latest_checkpoint(folder / run / "checkpoints");
    std::map<std::string, at::Tensor> out;
    for (const auto& [file, info] : checkpoint::read_manifest(checkpoint).files) {
      if (!file.starts_with("model.") || !file.ends_with(".safetensors")) continue;
      const auto opened = formats::SafetensorsFile::open(checkpoint / file);
      for (const auto& tensor : opened.names()) out[tensor] = opened.tensor(tensor).clone();
    }
    return out;
  };
  auto whole = saved("whole"), cut = saved("cut");
  ASSERT_GT(whole.size(), 10u);
  for (const auto& [name, tensor] : whole)
    EXPECT_LE((tensor - cut.at(name)).abs().max().item<double>(), 1e-9) << name;
}

/// Changes every number and switch below [train], one at a time, and looks which of them a resume
/// takes: those of the test above, and no other.
TEST(FreeSettings, AreTheOnesThatAreTested) {
  const TemporaryFolder folder;
  const auto options = base_run(folder.path());
  train::Run(options, folder / "run").start({.max_steps = 1});
  std::set<std::string> taken;
  for (const auto& field : describe_fields<train::TrainOptions>()) {
    if (field.name.find('[') != std::string::npos) continue;
    std::string value;
    if (field.type == "integer")
      value = std::to_string(std::stoll(field.value) + 1);
    else if (field.type == "number")
      value = concat(std::stod(field.value) * 0.5 + 0.125);
    else if (field.type == "boolean")
      value = field.value == "true" ? "false" : "true";
    else
      continue;
    Table table = train::resolved(options);
    config::apply_override(table, concat("train.", field.name, '=', value));
    train::RunOptions changed;
    read_fields(changed, table, "");
    const std::string message =
        message_of([&] { train::Run(changed, folder / "run").resume({.max_steps = 1}); });
    if (message.empty())
      taken.insert(field.name);
    else
      EXPECT_PRED2(contains, message, concat("train.", field.name, ": was ")) << value;
  }
  at::set_num_threads(2);
  EXPECT_EQ(taken, (std::set<std::string>{"steps", "threads", "log_every", "eval_every",
                                          "eval_batches", "checkpoint_every", "keep", "keep_best",
                                          "early_stop", "max_bad_steps", "schedule.steps",
                                          "schedule.keep", "monitor.overload", "monitor.every",
                                          "tensorboard.enabled", "tensorboard.sample_tokens"}));
}

/// These change parameters: revival moves experts' weights, and the monitor says when.
TEST(FreeSettings, WhatRevivesExpertsIsNotAmongThem) {
  const TemporaryFolder folder;
  const auto options = base_run(folder.path());
  train::Run(options, folder / "run").start({.max_steps = 1});
  auto other = options;
  other.train.monitor.revive = true;
  EXPECT_ERROR(train::Run(other, folder / "run").resume(),
               "train.monitor.revive: was false, is true");
  other = options;
  other.train.monitor.unused_steps = 3;
  EXPECT_ERROR(train::Run(other, folder / "run").resume(),
               "train.monitor.unused_steps: was 100, is 3");
}

TEST(FreeSettings, WhatIsDoneAboutBadStepsMayChangeWhileThereWereNone) {
  const TemporaryFolder folder;
  auto options = base_run(folder.path());
  fail_on(options, {1});
  const auto resumed = [&](const char* was, const char* is, int64_t steps) {
    const Path run = folder / concat(was, '-', is, '-', steps);
    options.train.on_nan = was;
    train::Run(options, run).start({.max_steps = steps});
    auto other = options;
    other.train.on_nan = is;
    return message_of([&] { train::Run(other, run).resume({.max_steps = steps}); });
  };
  EXPECT_EQ(resumed("stop", "skip", 1), "");
  EXPECT_EQ(resumed("stop", "rollback", 1), "");
  EXPECT_EQ(resumed("skip", "stop", 1), "");
  EXPECT_EQ(resumed("skip", "stop", 3), "");
  EXPECT_PRED2(contains, resumed("skip", "rollback", 1),
               "train.on_nan: was \"skip\", is \"rollback\"");
  EXPECT_PRED2(contains, resumed("rollback", "skip", 3),
               "train.on_nan: was \"rollback\", is \"skip\"");
  // skip -> stop -> rollback, with a step skipped before.
  const Path run = folder / "skip-stop-3";
  options.train.on_nan = "stop";
  train::Run(options, run).resume({.max_steps = 5});
  options.train.on_nan = "rollback";
  EXPECT_ERROR(train::Run(options, run).resume(), "train.on_nan: was \"stop\", is \"rollback\"");
}

TEST(FreeSettings, CheckpointsThatARollbackGoesToStayWhereTheyAre) {
  const TemporaryFolder folder;
  auto options = base_run(folder.path());
  options.train.on_nan = "rollback";
  train::Run(options, folder / "run").start({.max_steps = 1});
  options.train.checkpoint_every = 3;
  EXPECT_ERROR(train::Run(options, folder / "run").resume(), "train.checkpoint_every: was 4, is 3");
}

/// A crash in mid-replacement leaves the newest checkpoint under its other name.
TEST(FreeSettings, ARunGoesOnFromAHalfReplacedCheckpoint) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  const auto options = base_run(folder.path());
  train::Run(options, folder / "whole").start();
  train::Run cut(options, folder / "cut");
  cut.start({.max_steps = 3});
  const Path checkpoints = folder / "cut" / "checkpoints";
  std::filesystem::rename(checkpoints / "step-000003", checkpoints / ".old-step-000003");
  cut.resume();
  EXPECT_EQ(tensor_files(folder / "cut"), tensor_files(folder / "whole"));
}

}  // namespace
}  // namespace moe::test
