// What a walk through modules finds.
#include <gtest/gtest.h>

#include "tests/parameters/modules.h"

namespace moe::test {
namespace {

TEST(ParameterList, HasEverythingOnceUnderItsFullName) {
  const Tree tree;
  std::vector<std::string> names;
  for (const auto& parameter : parameters_of(tree)) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "tied", "router.matrix", "router.gain", "router.offset", "router.scores",
                       "router.table", "router.started", "plain.matrix", "plain.gain",
                       "plain.offset", "plain.scores", "plain.table", "plain.started",
                       "own.0.weight", "own.0.bias", "own.1.weight", "own.1.bias"}));
  const auto all = tensors_of(tree);
  EXPECT_EQ(all.size(), names.size() + 4);
  EXPECT_EQ(find(all, "plain.counts").info.role, Role::kState);
  EXPECT_EQ(all.back().name, "plain.drift");
}

TEST(ParameterList, SaysWhatModulesSaid) {
  const auto all = parameters_of(Tree());
  EXPECT_EQ(find(all, "router.scores").info.part, Part::kRouter);
  EXPECT_EQ(find(all, "plain.scores").info.part, Part::kBackbone);
  EXPECT_TRUE(find(all, "plain.scores").info.per_expert);
  EXPECT_TRUE(find(all, "plain.matrix").info.residual);
  EXPECT_EQ(find(all, "tied").info.role, Role::kEmbedding);
  EXPECT_FALSE(find(all, "tied").info.keeps_start);
}

TEST(ParameterList, PlainModulesAreMatricesAndBiasesOfTheirHoldersPart) {
  for (const auto& parameter : parameters_of(Tree())) {
    if (!parameter.name.starts_with("own.")) continue;
    EXPECT_EQ(parameter.info.role, parameter.tensor.dim() >= 2 ? Role::kMatrix : Role::kBias);
    EXPECT_EQ(parameter.info.expert, 2);
    EXPECT_TRUE(parameter.info.is_local());
    EXPECT_TRUE(parameter.info.keeps_start);
  }
}

TEST(ParameterList, DecayIsForMatrices) {
  for (const auto& [role, decays] :
       {std::pair{Role::kMatrix, true}, std::pair{Role::kHead, true},
        std::pair{Role::kScores, true}, std::pair{Role::kEmbedding, false},
        std::pair{Role::kScale, false}, std::pair{Role::kBias, false},
        std::pair{Role::kState, false}})
    EXPECT_EQ(ParameterInfo{.role = role}.decays(), decays);
}

}  // namespace
}  // namespace moe::test
