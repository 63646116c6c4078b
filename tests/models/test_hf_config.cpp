// config.json, key by key.
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/formats/json_table.h>
#include <moe/models/hf_config.h>

namespace moe::models {
namespace {

HfConfig config_of(const std::string& json) {
  return {formats::parse_json_table(json, "test", "'c'"), "'c'"};
}

TEST(HfConfig, ReadsTypedKeys) {
  const auto c =
      config_of(R"({"d": 32, "eps": 1e-5, "whole": 2, "tie": true, "act": "silu", "none": null})");
  EXPECT_EQ(c.size("d"), 32);
  EXPECT_EQ(c.size("absent", 7), 7);
  EXPECT_EQ(c.size("none", 7), 7);
  EXPECT_EQ(c.number("eps"), 1e-5);
  EXPECT_EQ(c.number("whole"), 2.0);
  EXPECT_TRUE(c.flag("tie", false));
  EXPECT_FALSE(c.flag("none", false));
  EXPECT_EQ(c.text("act"), "silu");
  EXPECT_EQ(c.text("absent", "x"), "x");
  EXPECT_FALSE(c.has("none"));
  c.refuse_unread();
}

TEST(HfConfig, RefusesWrongValuesByKey) {
  const auto c = config_of(
      R"({"d": 32.5, "zero": 0, "huge": 4294967296, "tie": 1, "act": 3, "eps": "x", "rope": 1})");
  EXPECT_ERROR(c.size("absent"),
               "expected a whole number from 1 to 2^31 at 'absent' in 'c', found none");
  EXPECT_ERROR(c.size("d"), "at 'd' in 'c', got 32.5");
  EXPECT_ERROR(c.size("zero"), "at 'zero' in 'c', got 0");
  EXPECT_ERROR(c.size("huge"), "got 4294967296");
  EXPECT_ERROR(c.flag("tie", false), "expected true or false at 'tie' in 'c', got 1");
  EXPECT_ERROR(c.text("act"), "expected a string at 'act'");
  EXPECT_ERROR(c.number("eps"), "expected a number at 'eps'");
  EXPECT_ERROR(c.inside("rope"), "expected a table at 'rope'");
}

TEST(HfConfig, RefusesKeysThatNobodyKnows) {
  const auto c =
      config_of(R"({"d": 1, "bos_token_id": 1, "unset": null, "secret_scale": 2.5, "mine_a": 1,
                               "rope": {"theta": 3, "factor": 8}, "id2label": {"0": "x"}})");
  c.size("d");
  c.ignore({"mine_*"});
  c.inside("rope").number("theta");
  const auto message = moe::test::message_of([&] { c.refuse_unread(); });
  EXPECT_TRUE(
      moe::test::contains(message, "got 2 unknown, which could change what the model computes"))
      << message;
  EXPECT_TRUE(moe::test::contains(message, "\n  'rope.factor' = 8")) << message;
  EXPECT_TRUE(moe::test::contains(message, "\n  'secret_scale' = 2.5")) << message;
}

TEST(HfConfig, AllowsKnownValuesOnly) {
  const auto c = config_of(R"({"act": "relu", "off": false, "one": 1.0})");
  c.only("absent", {true}, "nothing");
  c.only("off", {false}, "that");
  c.only("one", {1}, "other numbers");
  EXPECT_ERROR(c.only("act", {"silu", "gelu"}, "other activations"),
               "expected \"silu\" or \"gelu\" at 'act' in 'c', got \"relu\", which is not there "
               "yet: other activations.");
}

TEST(HfConfig, KnowsActivationsUnderBothNames) {
  for (const auto& [theirs, ours] :
       {std::pair{"silu", "silu"}, std::pair{"gelu", "gelu"}, std::pair{"relu", "relu"},
        std::pair{"gelu_pytorch_tanh", "gelu_tanh"}}) {
    EXPECT_EQ(activation_of(config_of(concat(R"({"hidden_act": ")", theirs, "\"}")), "hidden_act"),
              ours);
    EXPECT_EQ(hf_activation(ours), theirs);
  }
  EXPECT_EQ(activation_of(config_of("{}"), "hidden_act"), "silu");
  EXPECT_ERROR(activation_of(config_of(R"({"hidden_act": "mish"})"), "hidden_act"),
               "got \"mish\", which is not there yet");
}

}  // namespace
}  // namespace moe::models
