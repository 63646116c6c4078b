// Families of latent attention: their authors' numbers, decoding and export.
#include <gtest/gtest.h>

#include "tests/models/family_checks.h"
#include "tests/models/settings_case.h"

namespace moe::models::families_latent_test {
namespace {

const Path kSharedCases = Path(MOE_SHARED_DIR) / "parity";

class FamiliesOfLatentAttention : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!real_files().exists(folder() / "case.json")) GTEST_SKIP() << "no case " << folder();
  }
  Path folder() const { return kSharedCases / GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Cases, FamiliesOfLatentAttention,
                         testing::Values("deepseek_v2_lite", "deepseek_v2_groups",
                                         "deepseek_v3_basic", "glm4_moe_lite", "mistral4",
                                         "deepseek_v32", "glm_moe_dsa", "longcat_flash"),
                         [](const auto& info) { return info.param; });

TEST_P(FamiliesOfLatentAttention, GiveTheNumbersOfTheSharedCase) {
  test::expect_parity(folder());
}

TEST_P(FamiliesOfLatentAttention, DecodeAsInFullPasses) {
  // No longer than any of the models reads.
  test::expect_decoding_matches(folder(), std::string(GetParam()) == "mistral4" ? 16 : 40);
}

TEST_P(FamiliesOfLatentAttention, ComeBackBitForBit) {
  test::expect_round_trip(folder());
}

/// Settings that those leave at their defaults.
class LatentFamiliesOtherwise : public testing::TestWithParam<const char*> {
 protected:
  const Path& folder() const { return case_.path(); }

 private:
  const test::SettingsCase case_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Cases, LatentFamiliesOtherwise,
                         testing::Values("deepseek_v2_biases", "deepseek_v3_halves",
                                         "glm4_moe_lite_groups", "mistral4_groups",
                                         "deepseek_v32_yarn", "glm_moe_dsa_shared",
                                         "longcat_flash_biases"),
                         [](const auto& info) { return info.param; });

TEST_P(LatentFamiliesOtherwise, GiveTheNumbersOfTransformers) {
  test::expect_logits(folder());
}

TEST_P(LatentFamiliesOtherwise, DecodeAndComeBack) {
  test::expect_decoding_matches(folder());
  test::expect_round_trip(folder());
}

TEST(FamilyOfDeepseekV3, GivesTheNumbersOfTheSharedCaseInFloat8) {
  const Path folder = kSharedCases / "deepseek_v3_fp8_mtp";
  if (!real_files().exists(folder / "case.json")) GTEST_SKIP() << "no case " << folder;
  test::expect_parity(folder);
}

}  // namespace
}  // namespace moe::models::families_latent_test
