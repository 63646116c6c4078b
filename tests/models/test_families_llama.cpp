// Families of Llama's shape, DBRX, Phi-3.5-MoE, gpt-oss, Llama 4 and GPT-2. B batch, S sequence, V
// vocabulary.
#include <tests/support/message_of.h>

#include <moe/base/text.h>
#include <moe/models/family.h>

#include "tests/models/family_checks.h"
#include "tests/models/settings_case.h"

namespace moe::models::families_llama_test {

namespace {

const Path kShared = Path(MOE_SHARED_DIR) / "parity";

const std::vector<std::string> kCases = {"mixtral_basic",
                                         "mixtral_sharded_bf16",
                                         "qwen2_moe_shared_gate",
                                         "qwen2_moe_mixed_layers",
                                         "qwen3_moe_norm",
                                         "qwen3_moe_raw_bf16",
                                         "olmoe_basic",
                                         "olmoe_clip",
                                         "olmoe_stacked",
                                         "flex_olmo",
                                         "dbrx_basic",
                                         "phimoe_basic",
                                         "llama4_text",
                                         "gpt_oss_bf16",
                                         "gpt_oss_mxfp4"};
/// Settings that those leave at their defaults.
const std::vector<std::string> kOtherSettings = {
    "qwen2_windows",      "qwen3_llama3",      "mistral_yarn",           "llama_dynamic",
    "mixtral_top1",       "qwen2_moe_windows", "qwen3_moe_dense_layers", "olmoe_bias",
    "flex_olmo_bias",     "dbrx_raw_weights",  "dbrx_second_norm",       "phimoe_beyond",
    "llama4_two_choices", "gpt_oss_defaults",  "gpt2_by_layer"};

bool shared_cases() {
  return real_files().exists(kShared / "README.md");
}

class LlamaFamilies : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!shared_cases()) GTEST_SKIP() << "no parity cases at " << kShared;
  }
  Path folder() const { return kShared / GetParam(); }
};

TEST_P(LlamaFamilies, GiveTheNumbersOfAnotherProgram) {
  test::expect_parity(folder());
}

TEST_P(LlamaFamilies, DecodeAsInFullPasses) {
  test::expect_decoding_matches(folder(), GetParam() == "phimoe_basic" ? 16 : 40);
}

TEST_P(LlamaFamilies, ComeBackBitForBit) {
  test::expect_round_trip(folder());
}

INSTANTIATE_TEST_SUITE_P(, LlamaFamilies, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param; });

class LlamaSettings : public testing::TestWithParam<std::string> {
 protected:
  const Path& folder() const { return case_.path(); }

 private:
  const test::SettingsCase case_{GetParam()};
};

TEST_P(LlamaSettings, GiveTheNumbersOfAnotherProgram) {
  test::expect_logits(folder());
}

TEST_P(LlamaSettings, DecodeAsInFullPasses) {
  if (GetParam() == "llama_dynamic" || GetParam() == "phimoe_beyond")
    GTEST_SKIP() << "positions turn otherwise in longer texts";
  test::expect_decoding_matches(folder(), GetParam() == "gpt2_by_layer" ? 16 : 40);
}

TEST_P(LlamaSettings, ComeBackBitForBit) {
  test::expect_round_trip(folder());
}

INSTANTIATE_TEST_SUITE_P(, LlamaSettings, testing::ValuesIn(kOtherSettings),
                         [](const auto& one) { return one.param; });

TEST(SettingsCase, HasTheWeightsOfTheScript) {
  const auto value = [](const char* name, const std::vector<int64_t>& shape, int64_t j) {
    return test::formula_weights(name, 7, shape).flatten()[j].item<float>();
  };
  EXPECT_EQ(value("lm_head.weight", {17, 12}, 203), -0x1.8d3f580000000p-6F);
  EXPECT_EQ(value("model.norm.weight", {16}, 5), 0x1.e359640000000p-1F);
  EXPECT_EQ(value("q_proj.bias", {24}, 23), -0x1.0ccaf80000000p-3F);
  EXPECT_EQ(value("experts.gate_up_proj", {3, 4, 6}, 71), 0x1.88ea3a0000000p-2F);
  EXPECT_EQ(test::unfolded("a.{0,12}.b.{3,4}.c"),
            (std::vector<std::string>{"a.0.b.3.c", "a.0.b.4.c", "a.12.b.3.c", "a.12.b.4.c"}));
}

/// What the case's family says of its config.json with one key changed.
std::string refusal(const std::string& name, const std::string& key, Value value) {
  Table settings = HfConfig::read(test::SettingsCase::stored(name)).settings();
  settings.set(key, std::move(value));
  const HfConfig changed(settings, "'config.json'");
  return test::message_of([&] { family_of(changed)->options(changed); });
}

TEST(LlamaFamiliesOfAnyKind, RefuseUnknownKeysAndValuesByName) {
  for (const auto& name : kOtherSettings) {
    SCOPED_TRACE(name);
    EXPECT_EQ(refusal(name, "transformers_version", "6"), "");
    EXPECT_TRUE(test::contains(refusal(name, "residual_magic", 0.5), "'residual_magic' = 0.5"));
  }
  EXPECT_TRUE(test::contains(refusal("qwen2_windows", "hidden_act", "mish"), "'hidden_act'"));
  EXPECT_TRUE(test::contains(refusal("gpt2_by_layer", "add_cross_attention", true),
                             "'add_cross_attention'"));
  EXPECT_TRUE(test::contains(refusal("gpt_oss_defaults", "layer_types",
                                     Array{"full_attention", "linear_attention", "full_attention"}),
                             "'layer_types'"));
  Table experts = *HfConfig::read(test::SettingsCase::stored("dbrx_raw_weights"))
                       .settings()
                       .find("ffn_config")
                       ->as<Table>();
  experts.set("moe_normalize_expert_weights", 0.0);
  EXPECT_TRUE(test::contains(refusal("dbrx_raw_weights", "ffn_config", experts),
                             "expected moe_normalize_expert_weights above 0 or null, got 0"));
}

}  // namespace

}  // namespace moe::models::families_llama_test
