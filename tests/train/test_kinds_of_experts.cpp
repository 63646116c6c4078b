// Runs from files with every kind of expert, with experts that compute nothing, with layers that
// differ and with routed heads of attention.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/balance/terms.h>
#include <moe/config/toml.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/layers/moe_layer.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

class KindsOfExperts : public ::testing::Test {
 protected:
  train::RunOptions options_of_runs() const {
    auto options = tiny_run(folder_.path());
    options.train.steps = 30;
    options.train.eval_every = 0;
    options.train.checkpoint_every = 30;
    options.train.optimizer.lr = 0.01;
    return options;
  }

  void SetUp() override {
    auto options = options_of_runs();
    change_model(options, [](auto& model) { model.uniform.moe.router.kind = "topk"; });
    std::ofstream(config_) << config::write_toml(train::resolved(options));
  }

  /// Trains and returns the lines of metrics.jsonl about steps.
  std::vector<nlohmann::json> train(const std::vector<std::string>& settings) {
    const Path out = folder_.path() / concat("run", runs_++);
    train::Run::from_toml(config_, settings, out).start();
    std::ifstream file(out / "metrics.jsonl");
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(file, line);)
      if (auto parsed = nlohmann::json::parse(line); !parsed.contains("eval"))
        lines.push_back(std::move(parsed));
    return lines;
  }

  void expect_learns(const std::vector<nlohmann::json>& lines) {
    ASSERT_EQ(lines.size(), 30u);
    EXPECT_LT(lines.back().at("lm_loss").get<double>(),
              lines.front().at("lm_loss").get<double>() - 0.5);
  }

  TemporaryFolder folder_;
  Path config_ = folder_.path() / "run.toml";
  int runs_ = 0;
};

TEST_F(KindsOfExperts, LearnFromAFile) {
  for (const char* expert :
       {"{kind = \"low_rank\", d_ff = 16}", "{kind = \"lora\", d_ff = 16, rank = 2}",
        "{kind = \"mixed_widths\", widths = [8, 24]}",
        "{kind = \"top_activations\", d_ff = 16, kept = 4}"}) {
    SCOPED_TRACE(expert);
    expect_learns(train({concat("model.moe.expert=", expert)}));
  }
}

TEST_F(KindsOfExperts, ThatComputeNothingLearnWithThoseThatDo) {
  const auto lines =
      train({"model.moe.zero_experts=1", "model.moe.identity_experts=1",
             "model.moe.constant_experts=2", "model.moe.router={kind = \"gating_residual\"}",
             "model.moe.balance=[{kind = \"switch\", coefficient = 0.01, free_weight = 0.75}]"});
  expect_learns(lines);
  EXPECT_EQ(lines.front().at("layers")[0].at("load").size(), 8u);
}

TEST_F(KindsOfExperts, LayersMayHaveTheirOwnNumbers) {
  const auto lines =
      train({"model.layers=3", "model.moe.experts_per_layer=[2, 0, 6]",
             "model.moe.top_k_per_layer=[1, 1, 3]", "model.moe.router.renormalise=false"});
  expect_learns(lines);
  ASSERT_EQ(lines.front().at("layers").size(), 2u);
  EXPECT_EQ(lines.front().at("layers")[0].at("load").size(), 2u);
  EXPECT_EQ(lines.front().at("layers")[1].at("load").size(), 6u);
}

TEST_F(KindsOfExperts, HeadsOfAttentionMayBeRoutedAndBalanced) {
  auto options = options_of_runs();
  change_model(options, [](auto& model) {
    layers::BlockSpec block;
    block.mixer = RoutedAttention{.num_experts = 4, .balance = {SwitchLoss{.coefficient = 0.01}}};
    block.feed_forward = MoELayerOptions{.num_experts = 4,
                                         .expert = {.kind = "gated", .d_ff = 16},
                                         .balance = {SwitchLoss{.coefficient = 0.01}}};
    model.uniform = {};
    model.blocks = {block, block};
  });
  std::ofstream(config_) << config::write_toml(train::resolved(options));
  const auto lines = train({});
  expect_learns(lines);
  const auto& balance = lines.front().at("balance");
  EXPECT_GT(balance.at("switch").get<double>(), 0.9);
  EXPECT_GT(balance.at("attention_switch").get<double>(), 0.9);
}

TEST_F(KindsOfExperts, ScopesAndConventionsAreReadFromTheFile) {
  const auto lines = train(
      {"model.moe.balance=[{kind = \"entropy\", coefficient = 0.01, scope = \"global\"}, {kind = "
       "\"importance\", coefficient = 0.01, scope = \"sequence\"}, {kind = \"switch\", coefficient "
       "= 0.01, convention = \"transformers\"}]"});
  expect_learns(lines);
  const auto& first = lines.front();
  EXPECT_LE(first.at("balance").at("entropy").get<double>(), 0);
  // transformers: the coefficient times K = 2 over 2 layers, so that it is 0.01 of each layer.
  const double balance = first.at("loss").get<double>() - first.at("lm_loss").get<double>();
  double expected = 0;
  for (const char* term : {"entropy", "importance", "switch"})
    expected += 2 * 0.01 * first.at("balance").at(term).get<double>();
  EXPECT_NEAR(balance, expected, 1e-4);
}

}  // namespace
}  // namespace moe::test
