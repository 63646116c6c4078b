// The whole trainer on several ranks, which are threads, against one. E experts.
#include <cmath>
#include <filesystem>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/formats/safetensors.h>
#include <moe/parallel/threads.h>
#include <moe/train/optimizer.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr double kTolerance = 1e-10;

/// Twenty steps in float64 with everything that could depend on who has which rows: accumulation,
/// capacity, a bias that balances without a loss, dropout, clipping, evaluation, frozen experts and
/// idle ones that do not decay.
train::RunOptions run_of(const Path& folder, const std::string& optimizer) {
  auto run = tiny_run(folder, "float64");
  change_model(run, [](auto& model) {
    auto& moe = model.uniform.moe;
    moe.num_experts = 8;
    moe.router.kind = "sigmoid";
    moe.router.options.set("bias_rate", 0.01);
    moe.capacity.factor = 1.0;
    moe.dispatcher = "all_to_all";
  });
  run.train.steps = 20;
  run.train.batch = 8;
  run.train.eval_every = 10;
  run.train.checkpoint_every = 10;
  run.train.optimizer.rule.kind = optimizer;
  run.train.optimizer.clip = 0.1;
  run.train.optimizer.router_warmup = 4;
  run.train.optimizer.decay_idle_experts = false;
  run.train.optimizer.groups = {
      {.match = "layers.1.moe", .experts = {0, 1, 6}, .frozen = true},
      {.match = "layers.1.moe.experts", .experts = {3}, .lr_factor = 0.5, .weight_decay = 0.3}};
  run.train.tensorboard.enabled = false;
  return run;
}

using Action = std::function<train::RunSummary(train::Run& run, train::RunControls controls)>;

/// Does it on every rank; rank 0's summary.
train::RunSummary on_ranks(int64_t ranks, const train::RunOptions& options, const Path& folder,
                           const Action& action) {
  train::RunSummary out;
  parallel::run_ranks(ranks, [&](const Group& group) {
    train::Run run(options, folder);
    train::RunControls controls;
    controls.group = group;
    const auto summary = action(run, controls);
    if (group->rank() == 0) out = summary;
  });
  return out;
}

train::RunSummary start(int64_t ranks, const train::RunOptions& options, const Path& folder,
                        int64_t steps = -1) {
  return on_ranks(ranks, options, folder, [&](train::Run& run, train::RunControls controls) {
    controls.max_steps = steps;
    return run.start(controls);
  });
}

/// Every tensor of the newest checkpoint: parameters, router state and optimizer state.
std::map<std::string, Tensor> saved(const Path& run) {
  const Path folder = *checkpoint::latest_checkpoint(run / "checkpoints");
  std::map<std::string, Tensor> out;
  for (const auto& [file, entry] : checkpoint::verify_manifest(folder).files) {
    if (!file.ends_with(".safetensors")) continue;
    const auto opened = formats::SafetensorsFile::open(folder / file);
    for (const auto& name : opened.names())
      out[file + " " + name] = opened.tensor(name).to(at::kDouble);
  }
  return out;
}

std::vector<nlohmann::json> metrics(const Path& run) {
  std::ifstream in(run / "metrics.jsonl");
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) out.push_back(nlohmann::json::parse(line));
  return out;
}

double relative(double a, double b) {
  return std::abs(a - b) / std::max(1e-12, std::abs(b));
}

void expect_same_run(const Path& found, const Path& expected) {
  const auto a = metrics(found), b = metrics(expected);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (b[i].contains("eval")) {
      EXPECT_LT(relative(a[i]["eval"]["loss"], b[i]["eval"]["loss"]), kTolerance) << b[i]["step"];
      continue;
    }
    for (const char* key : {"loss", "lm_loss", "grad_norm"})
      EXPECT_LT(relative(a[i][key], b[i][key]), kTolerance) << key << " of step " << b[i]["step"];
    EXPECT_EQ(a[i]["tokens"], b[i]["tokens"]);
    for (size_t layer = 0; layer < b[i]["layers"].size(); ++layer) {
      EXPECT_EQ(a[i]["layers"][layer]["load"], b[i]["layers"][layer]["load"]);
      EXPECT_EQ(a[i]["layers"][layer]["dropped"], b[i]["layers"][layer]["dropped"]);
    }
  }
  const auto c = saved(found), d = saved(expected);
  ASSERT_EQ(c.size(), d.size());
  for (const auto& [name, tensor] : d) {
    ASSERT_TRUE(c.contains(name)) << name;
    ASSERT_EQ(c.at(name).sizes(), tensor.sizes()) << name;
    EXPECT_LT((c.at(name) - tensor).abs().max().item<double>(), kTolerance) << name;
  }
}

class Ranks : public testing::TestWithParam<std::string> {
 protected:
  Path path(const std::string& name) const { return folder_.path() / name; }
  TemporaryFolder folder_;
};

TEST_P(Ranks, TrainAsOneDoes) {
  const auto options = run_of(folder_.path(), GetParam());
  start(1, options, path("1"));
  const auto lines = metrics(path("1"));
  double dropped = 0, clipped = 0;
  for (const auto& line : lines)
    if (!line.contains("eval")) {
      dropped += line["layers"][0]["dropped"].get<double>();
      clipped += line["grad_norm"].get<double>() > 0.1;
    }
  ASSERT_GT(dropped, 0) << "capacity did nothing";
  ASSERT_GT(clipped, 10) << "clipping did nothing";
  for (const int64_t ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    start(ranks, options, path(std::to_string(ranks)));
    expect_same_run(path(std::to_string(ranks)), path("1"));
  }
}

TEST_P(Ranks, GoOnFromACheckpointOfAnotherNumber) {
  const auto options = run_of(folder_.path(), GetParam());
  start(1, options, path("whole"));
  start(2, options, path("two"), 10);
  for (const int64_t ranks : {1, 4}) {
    SCOPED_TRACE(ranks);
    const Path copy = path("on" + std::to_string(ranks));
    std::filesystem::copy(path("two"), copy, std::filesystem::copy_options::recursive);
    on_ranks(ranks, options, copy, [](train::Run& run, const train::RunControls& controls) {
      return run.resume(controls);
    });
    expect_same_run(copy, path("whole"));
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, Ranks, testing::ValuesIn(train::optimizers().names()));

TEST(RankZero, AloneWritesAndSpeaks) {
  const TemporaryFolder folder;
  auto options = run_of(folder.path(), "adamw");
  options.train.steps = 4;
  options.train.eval_every = 2;
  options.train.tensorboard.enabled = true;
  options.train.optimizer.groups = {{.match = "embedding", .frozen = true}};
  testing::internal::CaptureStderr();
  parallel::run_ranks(4, [&](const Group& group) {
    train::Run run(options, folder.path() / ("rank" + std::to_string(group->rank())));
    train::RunControls controls;
    controls.group = group;
    const auto summary = run.start(controls);
    EXPECT_EQ(summary.record.step, 4);
    EXPECT_EQ(summary.metrics.empty(), group->rank() > 0);
  });
  const std::string said = testing::internal::GetCapturedStderr();
  const auto count = [&](const std::string& text) {
    int64_t found = 0;
    for (size_t at = said.find(text); at != std::string::npos; at = said.find(text, at + 1))
      ++found;
    return found;
  };
  EXPECT_EQ(count("validation loss"), 2) << said;
  EXPECT_EQ(count("the others are frozen"), 1) << said;
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "rank0" / "metrics.jsonl"));
  for (const char* rank : {"rank1", "rank2", "rank3"})
    EXPECT_FALSE(std::filesystem::exists(folder.path() / rank)) << rank;
}

TEST(RankZero, DecidesWhenAllStop) {
  const TemporaryFolder folder;
  const auto options = run_of(folder.path(), "adamw");
  int asked = 0;
  const auto summary = on_ranks(2, options, folder.path() / "run",
                                [&](train::Run& run, train::RunControls controls) {
                                  if (controls.group->rank() == 0)
                                    controls.stop = [&] { return ++asked == 3 ? 15 : 0; };
                                  return run.start(controls);
                                });
  EXPECT_EQ(summary.stopped_by, 15);
  EXPECT_EQ(summary.record.step, 3);
}

TEST(RankZero, RollsAllBack) {
  const TemporaryFolder folder;
  auto options = run_of(folder.path(), "adamw");
  options.train.on_nan = "rollback";
  options.train.max_bad_steps = 2;
  options.train.checkpoint_every = 1;
  options.train.optimizer.lr = 1e300;
  options.train.optimizer.clip = 0;
  options.train.schedule.warmup = 0;
  EXPECT_ERROR(start(2, options, folder.path() / "run"), "expected finite numbers, found loss");
}

}  // namespace
}  // namespace moe::test
