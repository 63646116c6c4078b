// What people read of a run: no flood of warnings, no figure that was not measured, remedies that
// work.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/train/run_files.h"

namespace moe::test {
namespace {

size_t times_in(const std::string& text, const std::string& part) {
  size_t out = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++out;
  return out;
}

class RunMessages : public ::testing::Test {
 protected:
  RunMessages() { options.train.steps = 6; }

  std::string out(const std::string& name) const { return (folder_ / name).string(); }
  /// Writes the configuration and runs `command` on it, on one thread.
  ProgramResult run(const std::string& command, const std::string& folder,
                    std::vector<std::string> more = {}) const {
    const Path config = folder_.path() / "run.toml";
    std::ofstream(config) << config::write_toml(train::resolved(options));
    more.insert(more.begin(), {command, config.string(), "--out", out(folder), "--threads", "1"});
    return run_program(more);
  }

  TemporaryFolder folder_;
  train::RunOptions options = tiny_run(folder_.path());
};

TEST_F(RunMessages, OneChoiceThatWeighsOneIsSaidOnceWhereItIsTrained) {
  change_model(options, [](auto& model) {
    model.uniform.moe.top_k = 1;
    model.uniform.moe.router.kind = "topk";
  });
  const auto trained = run("train", "a");
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(times_in(trained.err, "cannot train the router"), 1u) << trained.err;
  EXPECT_EQ(times_in(run("compare", "pair").err, "cannot train the router"), 1u);
  const std::string text = options.data.domains[0].valid;
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"eval", out("a"), "--data", text},
           {"generate", out("a"), "--prompt", "a", "--max-tokens", "2"},
           {"inspect", out("a")},
           {"inspect", out("a") + "/config.toml"},
           {"analyze", out("a"), "--permutations", "5"}}) {
    const auto other = run_program(words);
    EXPECT_EQ(other.status, 0) << words[0] << other.err;
    EXPECT_EQ(times_in(other.err, "warning"), 0u) << words[0] << other.err;
  }
  // Its remedy, applied.
  EXPECT_EQ(
      times_in(run("train", "b", {"--set", "model.moe.router.renormalise=false"}).err, "warning"),
      0u);
}

TEST_F(RunMessages, IdleExpertsAreALineAKindAndPeriod) {
  let_experts_idle(options, /*steps=*/120, /*unused_steps=*/20);
  options.train.checkpoint_every = 0;
  for (const char* revive : {"false", "true"}) {
    const auto trained =
        run("train", revive, {"--set", std::string("train.monitor.revive=") + revive});
    ASSERT_EQ(trained.status, 0) << trained.err;
    EXPECT_GE(times_in(trained.err, "warning"), 1u) << trained.err;
    EXPECT_LE(times_in(trained.err, "warning"), 8u) << trained.err;
  }
}

TEST_F(RunMessages, WhatWasNotMeasuredAtEqualTimeIsNull) {
  const auto json =
      nlohmann::json::parse(run("compare", "pair", {"--set", "train.eval_every=0", "--json"}).out);
  EXPECT_TRUE(json["equal_time"]["mean"].is_null()) << json;
  EXPECT_TRUE(json["equal_time"]["half_width_95"].is_null()) << json;
  EXPECT_TRUE(json["pairs"][0]["equal_time_difference"].is_null()) << json;
  EXPECT_DOUBLE_EQ(json["equal_steps"]["mean"], json["pairs"][0]["moe_loss"].get<double>() -
                                                    json["pairs"][0]["dense_loss"].get<double>());
  const auto text = run("compare", "pair", {"--set", "train.eval_every=0"});
  EXPECT_PRED2(contains, text.out, "; at equal time: not measured (in 1 of 1 pairs");
  EXPECT_EQ(text.out.find("nan"), std::string::npos) << text.out;
  EXPECT_PRED2(contains, read_file(real_files(), out("pair/report.html"), 1 << 22),
               "at equal wall time it was not measured");
  // The remedy, applied.
  const auto more =
      nlohmann::json::parse(run("compare", "more", {"--set", "train.eval_every=1", "--json"}).out);
  EXPECT_TRUE(more["equal_time"]["mean"].is_number()) << more;
  EXPECT_TRUE(more["equal_time"]["half_width_95"].is_null()) << more;  // of one pair
}

TEST_F(RunMessages, ComparingWithoutValidationDataIsRefusedBeforeAnythingIsTrained) {
  for (auto& domain : options.data.domains) domain.valid = "";
  const auto refused = run("compare", "pair");
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "expected validation data to compare losses on");
  EXPECT_FALSE(std::filesystem::exists(out("pair/moe")));
}

TEST_F(RunMessages, NothingIsAnnouncedBeforeTheDataAreOpen) {
  EXPECT_EQ(times_in(run("train", "a").err, " active a token, on "), 1u);
  options.data.domains[0].train = out("absent");
  const auto refused = run("train", "b");
  EXPECT_NE(refused.status, 0);
  EXPECT_EQ(times_in(refused.err, " active a token, on "), 0u) << refused.err;
}

TEST_F(RunMessages, AWarmUpThatTakesAllStepsIsSaid) {
  const auto warned = run("train", "a", {"--set", "train.schedule.warmup=6"});
  ASSERT_EQ(warned.status, 0) << warned.err;
  EXPECT_PRED2(contains, warned.err, "warning: train.schedule.warmup = 6 takes all 6 steps");
  const auto short_enough = run("train", "b", {"--set", "train.schedule.warmup=5"});
  EXPECT_EQ(times_in(short_enough.err, "train.schedule.warmup"), 0u) << short_enough.err;
}

TEST_F(RunMessages, AWeightThatNothingReadsIsRefused) {
  options.data.domains[0].weight = 2;
  const auto refused = run("train", "a");
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "expected data.weights = \"given\" beside the weight 2");
}

TEST_F(RunMessages, MoreStepsOnResumeSayWhatTheScheduleDoes) {
  ASSERT_EQ(run("train", "a").status, 0);
  ASSERT_EQ(run("train", "b").status, 0);
  const auto moved = run("train", "a", {"--resume", "--set", "train.steps=9"});
  EXPECT_EQ(moved.status, 0);
  EXPECT_PRED2(contains, moved.err,
               "warning: the learning rate now follows a cosine schedule of 9 "
               "steps instead of 6: step 7 has ");
  const auto kept = run(
      "train", "b", {"--resume", "--set", "train.steps=9", "--set", "train.schedule.keep=true"});
  EXPECT_EQ(kept.status, 0) << kept.err;
  EXPECT_PRED2(contains, kept.err, "keeps its cosine schedule of 6 steps and stays at 0.0001");
  const auto revived = run("train", "b", {"--resume", "--set", "train.monitor.revive=true"});
  EXPECT_EQ(revived.status, 2);
  EXPECT_PRED2(contains, revived.err, "train.monitor.revive: was false, is true");
}

TEST_F(RunMessages, FewPermutationsTellNothingFromChance) {
  ASSERT_EQ(run("train", "a").status, 0);
  const auto layers = [&](const char* permutations) {
    auto found = nlohmann::json::parse(
        run_program({"analyze", out("a"), "--permutations", permutations, "--json"}).out);
    return found.at("layers");
  };
  for (const auto& layer : layers("50")) {
    EXPECT_TRUE(layer["above"].is_null() && layer["percentile_99"].is_null()) << layer;
    EXPECT_TRUE(layer["p_value"].is_number());
  }
  for (const auto& layer : layers("99"))
    EXPECT_TRUE(layer["above"].is_boolean() && layer["percentile_99"].is_number()) << layer;
  const auto text = run_program({"analyze", out("a"), "--permutations", "50"});
  EXPECT_PRED2(contains, text.out, "50 permutations cannot tell it from chance, which takes 99");
  EXPECT_EQ(text.out.find("more than chance"), std::string::npos);
}

/// A loss is of the step it was measured in, which the last need not be.
TEST_F(RunMessages, TheLossIsOfItsStep) {
  const auto stopped = run("train", "a", {"--max-steps", "5", "--json"});
  const auto at_five = nlohmann::json::parse(stopped.out);
  EXPECT_EQ(at_five["loss_step"], 5);
  EXPECT_EQ(
      nlohmann::json::parse(run("train", "b", {"--max-steps", "1", "--json"}).out)["loss_step"],
      nullptr);
  options.train.steps = 12;
  const auto later = nlohmann::json::parse(run("train", "d", {"--max-steps", "7", "--json"}).out);
  EXPECT_EQ(later["steps"], 7);
  EXPECT_EQ(later["loss_step"], 5);
  const auto text = run("train", "e", {"--max-steps", "7"});
  EXPECT_PRED2(contains, text.out, " at step 5 (best ");
}

/// The settings that a refusal to resume advises.
TEST_F(RunMessages, ARefusedResumeNamesAConfigurationThatIsTaken) {
  ASSERT_EQ(run("train", "a").status, 0);
  const auto refused = run("train", "a", {"--resume", "--set", "train.seed=7"});
  EXPECT_EQ(refused.status, 2);
  const std::string advised = out("a") + "/config.toml";
  EXPECT_PRED2(contains, refused.err, "Resume with " + advised);
  EXPECT_EQ(run_program({"train", advised, "--out", out("a"), "--resume", "--threads", "1"}).status,
            0);
  EXPECT_EQ(run("train", "other", {"--set", "train.seed=7"}).status, 0);
}

}  // namespace
}  // namespace moe::test
