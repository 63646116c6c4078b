#include <cstdlib>
#include <map>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/checkpoint/steps.h>
#include <moe/config/toml.h>
#include <moe/formats/safetensors.h>
#include <moe/routing/routers.h>

#include "tests/support/message_of.h"
#include "tests/support/python.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

class Resume : public testing::TestWithParam<std::string> {};

TEST_P(Resume, IsBitExactAfterAnInterruption) {
  at::set_num_threads(2);
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path(), GetParam());
  train::Run(options, folder.path() / "whole").start();
  train::Run cut(options, folder.path() / "cut");
  cut.start({.max_steps = 7});
  cut.resume();
  const auto whole = tensor_files(folder.path() / "whole"),
             resumed = tensor_files(folder.path() / "cut");
  ASSERT_GT(whole.size(), 4u);  // shared and expert files of the model and the optimizer
  EXPECT_EQ(whole, resumed);
  EXPECT_EQ(metrics_without_times(folder.path() / "whole"),
            metrics_without_times(folder.path() / "cut"));
}
INSTANTIATE_TEST_SUITE_P(Types, Resume, testing::Values("float32", "bfloat16", "float64"));

TEST(Summary, SurvivesAResumeAndIsThatOfTheFile) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  const auto whole = train::Run(options, folder.path() / "whole").start().metrics;
  train::Run cut(options, folder.path() / "cut");
  EXPECT_EQ(cut.start({.max_steps = 7}).metrics.find("loss")->count(), 7);
  const auto resumed = cut.resume().metrics, read = cut.metrics();
  ASSERT_EQ(resumed.metrics().size(), whole.metrics().size());
  for (const auto& [name, expected] : whole.metrics()) {
    if (name == "tokens_per_second" || name == "seconds") continue;
    for (const auto* summary : {&resumed, &read}) {
      const auto* found = summary->find(name);
      ASSERT_TRUE(found) << name;
      EXPECT_EQ(found->count(), expected.count()) << name;
      EXPECT_EQ(found->mean(), expected.mean()) << name;
      EXPECT_EQ(found->deviation(), expected.deviation()) << name;
      EXPECT_EQ(found->min(), expected.min()) << name;
      EXPECT_EQ(found->max(), expected.max()) << name;
      EXPECT_EQ(found->last(), expected.last()) << name;
    }
  }
  EXPECT_EQ(whole.find("layers.1.max_over_mean")->count(), 12);
  EXPECT_EQ(whole.find("eval.loss")->count(), 3);
}

TEST(ResumeAfterKill, ContinuesFromTheLastCheckpointBitForBit) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  train::Run(options, folder.path() / "whole").start();
  // A process killed in step 7 leaves the checkpoint of step 4 and metrics up to step 6.
  train::Run cut(options, folder.path() / "cut");
  cut.start({.max_steps = 4});
  std::ofstream(folder.path() / "cut" / "metrics.jsonl", std::ios::app)
      << "{\"step\": 5, \"loss\": 1.0}\n{\"step\": 6, \"lo";
  cut.resume();
  EXPECT_EQ(tensor_files(folder.path() / "whole"), tensor_files(folder.path() / "cut"));
  EXPECT_EQ(metrics_without_times(folder.path() / "whole"),
            metrics_without_times(folder.path() / "cut"));
}

TEST(ResumeWithoutSources, GoesOnAsIfTheyWereThereAndAsTheyWere) {
  const TemporaryFolder folder;
  const Path counts = folder.path() / "counts.safetensors";
  const auto write_counts = [&](int64_t first) {
    formats::write_safetensors(real_files(), counts,
                               {{"counts", (at::arange(256, at::kLong) + first).remainder(256)}});
  };
  auto options = tiny_run(folder.path());
  change_model(options, [&](auto& model) {
    model.uniform.moe.router = HashRouter{.table = "balanced", .counts_file = counts.string()};
  });
  write_counts(0);
  train::Run(options, folder.path() / "whole").start();
  for (const bool gone : {false, true}) {
    SCOPED_TRACE(gone);
    const Path name = folder.path() / (gone ? "gone" : "other");
    write_counts(0);
    train::Run(options, name).start({.max_steps = 7});
    write_counts(100);
    if (gone) std::filesystem::remove(counts);
    EXPECT_EQ(train::Run(options, name).resume().resumed_from, 7);
    EXPECT_EQ(tensor_files(name), tensor_files(folder.path() / "whole"));
  }
}

TEST(Run, GoesBackOverDamagedCheckpointsOnlyToGoOnAndSaysSo) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  const Path run = folder.path() / "run";
  EXPECT_EQ(train::Run(options, run).start({.max_steps = 10}).resumed_from, -1);
  const auto damage = [&](const char* step) {
    std::ofstream(run / "checkpoints" / step / "model.safetensors", std::ios::app) << 'x';
  };
  damage("step-000010");
  testing::internal::CaptureStderr();
  EXPECT_EQ(train::Run(options, run).resume({.max_steps = 9}).resumed_from, 8);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_PRED2(contains, said, "passing over a damaged checkpoint");
  EXPECT_PRED2(contains, said, "going on from " + (run / "checkpoints" / "step-000008").string());
  for (const char* step : {"step-000008", "step-000009", "step-000010"})
    if (std::filesystem::exists(run / "checkpoints" / step)) damage(step);
  // To begin anew would write over what may be mended.
  train::Run again(options, run);
  EXPECT_ERROR(again.resume(), "found damaged ones only");
  EXPECT_ERROR(again.start(), "found damaged ones only");
  EXPECT_ERROR(again.resume_or_start(), "found damaged ones only");
}

TEST(Run, RefusesToStartOverAnotherRunAndToResumeNothing) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 2;
  train::Run run(options, folder.path() / "run");
  EXPECT_ERROR(run.resume(), "expected a checkpoint to resume from");
  run.start();
  EXPECT_ERROR(run.start(), "Pass --resume");
}

TEST(Run, RefusesToResumeWithSettingsOfAnotherRun) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 1;
  train::Run(options, folder.path() / "run").start();
  change_model(options, [](auto& model) { model.uniform.moe.expert.d_ff = 24; });
  options.train.steps = 2;
  train::Run run(options, folder.path() / "run");
  EXPECT_ERROR(run.resume(), "model.moe.expert.d_ff: was 16, is 24");
  EXPECT_ERROR(run.resume_or_start(), "model.moe.expert.d_ff: was 16, is 24");
  auto more = tiny_run(folder.path());
  more.train.steps = 2;  // the same run, longer and reported otherwise
  more.train.log_every = 5;
  more.train.threads = 1;
  EXPECT_EQ(train::Run(more, folder.path() / "run").resume().record.step, 2);
}

TEST(Run, StopsWithACheckpointWhenTold) {
  const TemporaryFolder folder;
  int asked = 0;
  const auto summary =
      train::Run(tiny_run(folder.path()), folder.path() / "run").start({.stop = [&] {
        return ++asked == 3 ? 15 : 0;
      }});
  EXPECT_EQ(summary.stopped_by, 15);
  EXPECT_EQ(summary.record.step, 3);
  EXPECT_EQ(checkpoint::latest_checkpoint(folder.path() / "run" / "checkpoints")->filename(),
            "step-000003");
}

TEST(Run, ResumingAFinishedRunChangesNothing) {
  const TemporaryFolder folder;
  const Path run_folder = folder.path() / "run";
  train::Run run(tiny_run(folder.path()), run_folder);
  const auto done = run.start();
  const auto files = tensor_files(run_folder);
  const auto metrics = metrics_without_times(run_folder);
  const auto again = run.resume();
  EXPECT_EQ(again.final_loss, done.final_loss);
  EXPECT_EQ(again.record.step, done.record.step);
  EXPECT_EQ(metrics_without_times(run_folder), metrics);
  EXPECT_EQ(tensor_files(run_folder), files);
}

/// What is left of a run that was told to stop in a step that owes an evaluation.
TEST(Run, AnEvaluationThatAStopSignalPreventedIsMadeUpFor) {
  for (const int last : {5, 12}) {  // in the middle, and the last step
    SCOPED_TRACE(last);
    const TemporaryFolder folder;
    const auto options = tiny_run(folder.path());
    train::Run(options, folder.path() / "whole").start();
    train::Run cut(options, folder.path() / "cut");
    int asked = 0;
    const auto stopped = cut.start({.stop = [&] { return ++asked == last ? 15 : 0; }});
    EXPECT_EQ(stopped.record.step, last);
    for (int again = 0; again < 2; ++again) {  // the second time nothing is left to do
      const auto done = cut.resume();
      EXPECT_EQ(done.record.last_evaluation, 12);
      EXPECT_EQ(metrics_without_times(folder.path() / "cut"),
                metrics_without_times(folder.path() / "whole"));
      EXPECT_EQ(tensor_files(folder.path() / "cut"), tensor_files(folder.path() / "whole"));
    }
  }
}

TEST(Run, AnEarlyStoppedRunStaysStoppedWhenResumed) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  // Without a bias that moves by itself.
  change_model(options, [](auto& model) { model.uniform.moe.router = {.kind = "topk"}; });
  options.train.optimizer.lr = 0;  // no evaluation is better than the first
  options.train.steps = 40;
  options.train.eval_every = 2;
  options.train.early_stop = 2;
  train::Run run(options, folder.path() / "run");
  const auto stopped = run.start();
  EXPECT_TRUE(stopped.early_stopped);
  EXPECT_EQ(stopped.record.step, 6);
  const auto again = run.resume();
  EXPECT_TRUE(again.early_stopped);
  EXPECT_EQ(again.record.step, 6);
}

TEST(Run, ValidatesWhatAProgramFilledIn) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.log_every = 0;
  EXPECT_ERROR(train::Run(options, folder.path() / "run"), "log_every");
}

TEST(Run, WritesTheOptionsOfEveryKind) {
  const TemporaryFolder folder;
  const auto text = config::write_toml(train::resolved(tiny_run(folder.path())));
  for (const char* key :
       {"renormalise = true", "bias_rate = 0.001", "scope = \"batch\"", "activation = \"silu\"",
        "objective]\nkind = \"next_token\"", "beta2 = 0.95"})
    EXPECT_PRED2(contains, text, key);
}

TEST(Run, ErrorsOfAConfigurationNameItsFile) {
  const TemporaryFolder folder;
  const Path config = folder.path() / "mine.toml";
  std::ofstream(config) << "[train]\nstepz = 3\n";
  EXPECT_ERROR(train::Run::from_toml(config), "Did you mean 'steps'?");
  EXPECT_ERROR(train::Run::from_toml(config), "\n  in " + config.string());
}

TEST(Run, PythonOpensEveryTensorFileOfACheckpoint) {
  if (!python_has("safetensors, numpy")) GTEST_SKIP() << "python3 has no safetensors and numpy";
  const TemporaryFolder folder;
  train::Run(tiny_run(folder.path()), folder.path() / "run").start();
  std::ofstream(folder.path() / "check.py") << R"(
import pathlib, sys
from safetensors import safe_open
files = sorted(pathlib.Path(sys.argv[1]).rglob('*.safetensors'))
assert len(files) >= 2, files
tensors = 0
for path in files:
    with safe_open(path, 'np') as file:
        for name in file.keys():
            assert file.get_tensor(name) is not None
            tensors += 1
assert tensors > 40, tensors
)";
  const Path checkpoint = *checkpoint::latest_checkpoint(folder.path() / "run" / "checkpoints");
  EXPECT_EQ(run_python(folder.path() / "check.py", checkpoint), 0);
}

TEST(Run, SameSeedAndThreadsGiveTheSameMetrics) {
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  for (const char* name : {"a", "b"}) train::Run(options, folder.path() / name).start();
  EXPECT_EQ(metrics_without_times(folder.path() / "a"), metrics_without_times(folder.path() / "b"));
}

}  // namespace
}  // namespace moe::test
