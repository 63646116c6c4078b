// Families of latent attention: their authors' numbers, decoding and export.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include <moe/models/moe_family.h>

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

struct Absent {
  const char* family;
  const char* settings;
  double scale;
  int64_t groups, kept_groups;
};

// routed_scaling_factor was taken for 1 where a file lacked it.
TEST(LatentFamilies, TakeWhatTheirClassesTakeForAbsentKeys) {
  for (const Absent& absent : {Absent{"deepseek_v3", "deepseek_v3_halves", 2.5, 8, 4},
                               {"deepseek_v32", "deepseek_v32_yarn", 2.5, 8, 4},
                               {"glm_moe_dsa", "glm_moe_dsa_shared", 2.5, 1, 0},
                               {"glm4_moe_lite", "glm4_moe_lite_groups", 1.8, 1, 0}}) {
    SCOPED_TRACE(absent.family);
    const Path folder = Path(MOE_SOURCE_DIR) / "tests/golden/settings" / absent.settings;
    Table thin;
    const std::set<std::string> left_out = {"routed_scaling_factor", "n_group", "topk_group",
                                            "norm_topk_prob"};
    const auto settings = HfConfig::read(folder);
    for (const auto& [key, value] : settings.settings())
      if (!left_out.contains(key)) thin.set(key, value);
    thin.set("n_routed_experts", int64_t{16});
    thin.set("num_experts_per_tok", int64_t{2});
    const auto blocks =
        options_of<DecoderOptions>(family_of(absent.family)->options(HfConfig(thin, "config.json")))
            .block_specs();
    const auto sparse = std::ranges::find_if(
        blocks, [](const auto& block) { return block.feed_forward.kind == "moe"; });
    ASSERT_NE(sparse, blocks.end());
    const auto router = kind_options<SigmoidRouter>(
        kind_options<layers::MoELayerOptions>(sparse->feed_forward).router);
    EXPECT_TRUE(router.renormalise);
    EXPECT_EQ(router.scale, absent.scale);
    EXPECT_EQ(router.groups, absent.groups);
    EXPECT_EQ(router.kept_groups, absent.kept_groups);
  }
}

}  // namespace
}  // namespace moe::models::families_latent_test
