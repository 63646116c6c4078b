// moe train, compare and analyze as processes, on a run of a few steps.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

class RunCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    auto options = tiny_run(folder_.path());
    options.train.steps = 6;
    std::ofstream(config_) << config::write_toml(train::resolved(options));
  }

  std::string out(const std::string& name) const { return (folder_ / name).string(); }
  /// Runs a command that must succeed, on one thread.
  ProgramResult run(std::vector<std::string> words) const {
    words.insert(words.end(), {"--threads", "1"});
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return result;
  }
  nlohmann::json json(std::vector<std::string> words) const {
    words.push_back("--json");
    return nlohmann::json::parse(run(words).out);
  }

  TemporaryFolder folder_;
  Path config_ = folder_.path() / "run.toml";
};

TEST_F(RunCommands, TrainSaysWhatItReached) {
  const auto found = json({"train", config_.string(), "--out", out("a")});
  EXPECT_EQ(found.at("steps"), 6);
  EXPECT_GT(found.at("loss").get<double>(), 1);
  EXPECT_TRUE(std::filesystem::exists(out("a") + "/checkpoints/step-000006/manifest.json"));
  const auto again = run_program({"train", config_.string(), "--out", out("a")});
  EXPECT_EQ(again.status, 2);
  EXPECT_PRED2(contains, again.err, "Pass --resume to go on");
}

/// The remedy of the refusal is applied as it is named.
TEST_F(RunCommands, TrainRefusesChangedDataAndGoesOnWhenTold) {
  run({"train", config_.string(), "--out", out("a"), "--max-steps", "2"});
  std::vector<std::string> words = {"train", config_.string(), "--out", out("a"), "--resume"};
  const auto refused = [&](const std::string& part) {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 2);
    EXPECT_PRED2(contains, result.err, part);
  };
  std::ofstream(folder_ / "arithmetic.train", std::ios::app) << "1 + 1 = 3\n";
  refused("\n  data.domains[1].train: was");
  refused("go on with what is there now: --allow-changed-data.");
  words.back() = "--allow-changed-data";
  refused("[--allow-changed-data] expected --resume beside it");
  words.push_back("--resume");
  EXPECT_PRED2(contains, run(words).err, "with other data than before");
  words.erase(words.end() - 2);
  EXPECT_FALSE(contains(run(words).err, "other data"));
}

TEST_F(RunCommands, TrainTakesItsSeedTypeAndDeviceAsOptions) {
  const auto trained = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", config_.string(), "--out", out(name)});
    json(more);
    return config::read_toml(out(name) + "/config.toml");
  };
  const Table options = trained("a", {"--seed", "5", "--dtype", "float64", "--device", "cpu"});
  const Table settings = trained("b", {"--set", "train.seed=5", "--set", "train.dtype=float64"});
  EXPECT_EQ(config::write_toml(options), config::write_toml(settings));
  EXPECT_EQ(*options.find("train")->as<Table>()->find("seed")->as<int64_t>(), 5);
  const auto refused =
      run_program({"train", config_.string(), "--out", out("c"), "--dtype", "float8"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "[--dtype]");
}

TEST_F(RunCommands, TheLogNamesTheInstructionSetOnce) {
  setenv("MOE_CPU", "portable", 1);
  const std::string log = run({"train", config_.string(), "--out", out("a")}).err;
  unsetenv("MOE_CPU");
  const size_t at = log.find("(portable)");
  ASSERT_NE(at, std::string::npos) << log;
  EXPECT_EQ(log.find("(portable)", at + 1), std::string::npos) << log;
}

TEST_F(RunCommands, TheRunsFolderHoldsWhatIsPromised) {
  run({"train", config_.string(), "--out", out("a")});
  EXPECT_TRUE(std::filesystem::exists(out("a") + "/config.toml"));
  std::ifstream metrics(out("a") + "/metrics.jsonl");
  int steps = 0, evaluations = 0;
  for (std::string line; std::getline(metrics, line);) {
    const auto found = nlohmann::json::parse(line);
    if (found.contains("eval")) {
      ++evaluations;
      for (const char* field : {"loss", "perplexity"})
        EXPECT_TRUE(found.at("eval").at(field).is_number()) << line;
      continue;
    }
    ++steps;
    for (const char* field :
         {"step", "tokens", "loss", "lm_loss", "grad_norm", "lr", "tokens_per_second"})
      EXPECT_TRUE(found.at(field).is_number()) << line;
    for (const char* term : {"switch", "z_loss"})
      EXPECT_TRUE(found.at("balance").at(term).is_number()) << line;
    ASSERT_EQ(found.at("layers").size(), 2u);
    for (const auto& layer : found.at("layers")) {
      double sum = 0;
      for (const double share : layer.at("load")) sum += share;
      EXPECT_NEAR(sum, 1, 1e-9);
      for (const char* field : {"max_over_mean", "entropy", "dropped", "unused"})
        EXPECT_TRUE(layer.at(field).is_number()) << line;
    }
  }
  EXPECT_EQ(steps, 6);
  EXPECT_GE(evaluations, 1);
}

TEST_F(RunCommands, ARunItsCheckpointAndItsConfigurationAreTheSameModel) {
  run({"train", config_.string(), "--out", out("a"), "--max-steps", "1"});
  const auto inspected = [](const std::string& model) {
    const auto result = run_program({"inspect", model, "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    auto found = nlohmann::json::parse(result.out);
    // What says where it comes from is a checkpoint's alone.
    EXPECT_EQ(found.value("step", 1), 1);
    for (const char* source : {"checkpoint", "step"}) found.erase(source);
    return found;
  };
  const auto expected = inspected(config_.string());
  for (const auto& model :
       {out("a"), out("a") + "/checkpoints/step-000001", out("a") + "/config.toml"})
    EXPECT_EQ(inspected(model), expected) << model;
  EXPECT_EQ(expected.at("flops_per_token"),
            2 * expected.at("parameters").at("active_without_input_embedding").get<int64_t>() +
                4 * 2 * 16 * 16);  // attention over 16 tokens: 4 S D a layer
}

TEST_F(RunCommands, TrainNamesTheFileOfABadConfiguration) {
  std::ofstream(config_) << "[train]\nstepz = 3\n";
  const auto refused = run_program({"train", config_.string(), "--out", out("a")});
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "Did you mean 'steps'?");
  EXPECT_PRED2(contains, refused.err, "in " + config_.string());
  EXPECT_FALSE(std::filesystem::exists(out("a")));
}

TEST_F(RunCommands, AnalyzeGivesInformationPerLayerAndForDomainsAlone) {
  run({"train", config_.string(), "--out", out("a")});
  const auto found = json({"analyze", out("a"), "--domains", "english,arithmetic", "--batches", "2",
                           "--permutations", "50"});
  for (const auto& comparison : {found, found["chosen"]}) {
    EXPECT_EQ(comparison["domains"].size(), 2u);
    ASSERT_EQ(comparison["layers"].size(), 2u);
    for (const auto& layer : comparison["layers"]) {
      EXPECT_GE(layer["specialisation"].get<double>(), 0);
      EXPECT_LE(layer["specialisation"].get<double>(), 1);
      EXPECT_EQ(layer["load"].size(), 4u);
    }
  }
  const auto text = run({"analyze", out("a"), "--permutations", "50"}).out;
  EXPECT_PRED2(contains, text, "specialisation");
  const auto refused = run_program({"analyze", out("a"), "--domains", "english,klingon"});
  EXPECT_NE(refused.status, 0);
  EXPECT_PRED2(contains, refused.err, "klingon");
}

TEST_F(RunCommands, AnalyzeGivesTheSameFromATraceAsFromTheRun) {
  const auto trained =
      run_program({"train", config_.string(), "--out", out("a"), "--threads", "1"});
  EXPECT_EQ(trained.status, 0);
  EXPECT_PRED2(contains, trained.err, "grad_norm");  // the table of metrics
  auto from_run = json({"analyze", out("a"), "--batches", "2", "--permutations", "50", "--trace",
                        out("t.safetensors"), "--trace-logits"});
  auto from_trace = json({"analyze", out("t.safetensors"), "--permutations", "50"});
  EXPECT_EQ(from_run["metrics"]["loss"]["count"], 6);
  EXPECT_GT(from_run["metrics"]["layers.1.entropy"]["mean"].get<double>(), 0);
  from_run.erase("metrics");
  EXPECT_EQ(from_run, from_trace);
  const auto& layer = from_run["statistics"]["layers"][0];
  EXPECT_EQ(layer["experts"].size(), 4u);
  EXPECT_EQ(layer["experts"][0]["positions"].size(), 8u);
  EXPECT_GT(layer["weight_entropy"]["mean"].get<double>(), 0);
  EXPECT_EQ(from_run["statistics"]["flows"].size(), 1u);

  const auto text = run({"analyze", out("t.safetensors"), "--permutations", "50"}).out;
  EXPECT_PRED2(contains, text, "settles");
  EXPECT_PRED2(contains, text, "typical");
  const auto set = run_program({"analyze", out("t.safetensors"), "--set", "data.sequence=8"});
  EXPECT_EQ(set.status, 2);
  const auto logits = run_program({"analyze", out("a"), "--trace-logits"});
  EXPECT_EQ(logits.status, 2);
  EXPECT_PRED2(contains, logits.err, "--trace beside --trace-logits");
  const auto wrong = run_program({"analyze", config_.string()});
  EXPECT_EQ(wrong.status, 1);
}

TEST_F(RunCommands, CompareTrainsPairsAndGivesTheInterval) {
  const auto found = json({"compare", config_.string(), "--out", out("pairs"), "--seeds", "2"});
  EXPECT_EQ(found.at("pairs").size(), 2u);
  EXPECT_GT(found.at("equal_steps").at("half_width_95").get<double>(), 0);
}

TEST_F(RunCommands, EveryRunAndComparisonEndsWithAReport) {
  const auto page = [&](const std::string& name) {
    return read_file(real_files(), out(name), 1 << 22);
  };
  run({"train", config_.string(), "--out", out("a")});
  EXPECT_PRED2(contains, page("a/report.html"), "</html>");
  run({"compare", config_.string(), "--out", out("pair")});
  EXPECT_PRED2(contains, page("pair/report.html"), "dense twin");
  EXPECT_FALSE(std::filesystem::exists(out("pair/moe/report.html")));
}

TEST_F(RunCommands, AnalyzeWritesTheReportOfARunACheckpointAndAComparison) {
  run({"compare", config_.string(), "--out", out("pair")});
  for (const char* subject :
       {"pair", "pair/moe", "pair/dense", "pair/moe/checkpoints/step-000006"}) {
    run({"analyze", out(subject), "--out", out("page.html"), "--permutations", "20"});
    const std::string page = read_file(real_files(), out("page.html"), 1 << 22);
    EXPECT_PRED2(contains, page, "6 steps, complete") << subject;
  }
  const auto refused = run_program({"analyze", out("nothing"), "--out", out("page.html")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_PRED2(contains, refused.err, "expected config.toml or metrics.jsonl of a run");
}

TEST_F(RunCommands, AReportThatCannotBeWrittenIsAWarning) {
  std::filesystem::create_directories(out("a") + "/report.html/in the way");
  const auto trained = run({"train", config_.string(), "--out", out("a")});
  EXPECT_PRED2(contains, trained.err, "warning: the run's files are complete, but its report");
}

}  // namespace
}  // namespace moe::test
