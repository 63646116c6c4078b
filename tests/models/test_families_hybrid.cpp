// Families whose layers mix tokens in several ways: their authors' numbers, decoding and export.
#include <gtest/gtest.h>

#include "tests/models/family_checks.h"

namespace moe::models {
namespace {

const std::vector<std::string> kHybridCases = {
    "qwen3_next", "lfm2_moe", "granitemoehybrid", "jamba", "kimi_linear", "minimax", "qwen3_5_moe"};

const Path kHybridFolder = Path(MOE_SHARED_DIR) / "parity";

bool has_hybrid_cases() {
  return real_files().exists(kHybridFolder / "README.md");
}

TEST(HybridFamilies, GiveTheNumbersOfTheSharedCases) {
  if (!has_hybrid_cases()) GTEST_SKIP() << "no parity cases at " << kHybridFolder;
  for (const auto& name : kHybridCases) test::expect_parity(kHybridFolder / name);
}

TEST(HybridFamilies, DecodeAsInFullPasses) {
  if (!has_hybrid_cases()) GTEST_SKIP() << "no parity cases at " << kHybridFolder;
  for (const auto& name : kHybridCases) test::expect_decoding_matches(kHybridFolder / name);
}

TEST(HybridFamilies, ComeBackBitForBit) {
  if (!has_hybrid_cases()) GTEST_SKIP() << "no parity cases at " << kHybridFolder;
  for (const auto& name : kHybridCases) test::expect_round_trip(kHybridFolder / name);
}

/// Qwen3.5 could describe such a model too.
TEST(HybridFamilies, AreRememberedByCheckpointsOfOurs) {
  if (!has_hybrid_cases()) GTEST_SKIP() << "no parity cases at " << kHybridFolder;
  const test::TemporaryFolder folder;
  save_native(load(kHybridFolder / "qwen3_next" / "model"), folder / "native");
  const auto native = load(folder / "native");
  EXPECT_EQ(native.family, "");
  EXPECT_EQ(native.converted_from, "qwen3_next");
  save_native(native, folder / "again");
  EXPECT_EQ(load(folder / "again").converted_from, "qwen3_next");
}

}  // namespace
}  // namespace moe::models
