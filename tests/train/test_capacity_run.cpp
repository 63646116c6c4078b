// Runs whose configuration limits how much an expert takes.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

class CapacityRun : public ::testing::Test {
 protected:
  void SetUp() override {
    auto options = tiny_run(folder_.path());
    options.train.steps = 4;
    options.train.eval_every = 2;
    std::ofstream(config_) << config::write_toml(train::resolved(options));
  }

  train::Run run(const std::string& name, const std::vector<std::string>& settings) const {
    return train::Run::from_toml(config_, settings, folder_.path() / name);
  }

  std::vector<nlohmann::json> metrics(const std::string& name) const {
    std::ifstream file(folder_.path() / name / "metrics.jsonl");
    std::vector<nlohmann::json> out;
    for (std::string line; std::getline(file, line);) out.push_back(nlohmann::json::parse(line));
    return out;
  }

  TemporaryFolder folder_;
  Path config_ = folder_.path() / "run.toml";
};

TEST_F(CapacityRun, TrainsAndReportsWhatItDrops) {
  run("limited", {"model.moe.capacity.factor=0.5", "model.moe.capacity.order=\"priority\""})
      .start();
  run("moving", {"model.moe.capacity.factor=1.5", "model.moe.capacity.overflow=\"next_best\""})
      .start();
  run("free", {}).start();
  int64_t steps = 0, evaluations = 0;
  for (const auto& line : metrics("limited")) {
    evaluations += line.contains("eval");
    if (line.contains("eval")) continue;
    ++steps;
    // 8 sequences of 16 tokens with 2 choices, of which half find room.
    for (const auto& layer : line.at("layers")) {
      EXPECT_GE(layer.at("dropped").get<double>(), 128);
      EXPECT_LT(layer.at("dropped").get<double>(), 256);
    }
    EXPECT_TRUE(std::isfinite(line.at("loss").get<double>()));
  }
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(evaluations, 2);
  // Room for 48 of 32 pairs: whoever finds an expert full finds another one.
  for (const char* name : {"moving", "free"})
    for (const auto& line : metrics(name))
      for (const auto& layer : line.value("layers", nlohmann::json::array()))
        EXPECT_EQ(layer.at("dropped").get<double>(), 0) << name;
}

TEST_F(CapacityRun, GoesOnAsItWasAndRefusesOtherOptions) {
  const std::vector<std::string> settings = {"model.moe.capacity.factor=0.5",
                                             "model.moe.capacity.order=\"random\""};
  run("whole", settings).start();
  run("parts", settings).start({.max_steps = 2});
  run("parts", settings).resume();
  EXPECT_EQ(tensor_files(folder_.path() / "whole"), tensor_files(folder_.path() / "parts"));
  EXPECT_ERROR(run("parts", {}).resume(), "model.moe.capacity.factor: was 0.5");
}

TEST_F(CapacityRun, NamesWhatIsWrongInTheConfiguration) {
  EXPECT_ERROR(run("a", {"model.moe.capacity.factr=1"}), "Did you mean 'factor'?");
  EXPECT_ERROR(run("a", {"model.moe.capacity.order=\"prio\""}), "order");
  EXPECT_ERROR(
      run("a", {"model.moe.capacity.factor=1", "model.moe.capacity.group_tokens=48"}).start(),
      "expected whole groups of group_tokens=48 tokens");
}

}  // namespace
}  // namespace moe::test
