// What the field has, by the names that this library gives it, with who introduced it: a program
// that claims to compare routers, balance rules and experts has these.
#include <algorithm>

#include <gtest/gtest.h>

#include <moe/balance/term.h>
#include <moe/experts/experts.h>
#include <moe/layers/feed_forward.h>
#include <moe/routing/router.h>

namespace moe::test {
namespace {

struct Known {
  const char* name;
  const char* source;
};

const std::vector<Known> kRouters = {
    {"topk", "Shazeer et al. 2017; Jiang et al. 2024 (Mixtral)"},
    {"switch", "Fedus et al. 2021"},
    {"gshard", "Lepikhin et al. 2020"},
    {"noisy_topk", "Shazeer et al. 2017"},
    {"vmoe", "Riquelme et al. 2021"},
    {"warmup_noise", "random routing early in training"},
    {"hash", "Roller et al. 2021"},
    {"expert_choice", "Zhou et al. 2022"},
    {"dense", "Jacobs et al. 1991"},
    {"mlp", "routers of two layers"},
    {"cosine", "Chi et al. 2022 (X-MoE)"},
    {"sigmoid", "DeepSeek-AI 2024 (DeepSeek-V3)"},
    {"sparsemixer", "Liu et al. 2023"},
    {"scaled_topk", "Gemma 4"},
    {"forced_balance", "benchmarks"},
    {"forced_skew", "benchmarks"},
    {"replay", "recorded assignments"},
};

const std::vector<Known> kTerms = {
    {"switch", "Fedus et al. 2021; Lepikhin et al. 2020"},
    {"squared_deviation", "mean squared deviation of the mean probabilities"},
    {"absolute_deviation", "mean absolute deviation of the mean probabilities"},
    {"entropy", "entropy of the mean probabilities"},
    {"importance", "Shazeer et al. 2017"},
    {"load", "Shazeer et al. 2017"},
    {"z_loss", "Zoph et al. 2022 (ST-MoE)"},
    {"sequence", "DeepSeek-AI 2024 (DeepSeek-V3)"},
    {"usage_variance", "running usage of experts"},
    {"specialisation", "mutual information of expert and token"},
    {"orthogonality", "diversity of experts"},
    {"expert_l2", "weight decay of experts alone"},
};

const std::vector<Known> kExperts = {
    {"ffn", "Vaswani et al. 2017"},
    {"gated", "Shazeer 2020 (SwiGLU, GEGLU, ReGLU)"},
    {"clamped", "OpenAI 2025 (gpt-oss)"},
    {"basic", "a linear map and its activation"},
    {"advanced", "feed-forward with LayerNorm and dropout"},
};

const std::vector<Known> kFeedForwards = {
    {"dense", "Vaswani et al. 2017"},
    {"moe", "Shazeer et al. 2017"},
    {"soft_moe", "Puigcerver et al. 2023"},
};

template <class Registry>
void expect_all(const Registry& registry, const std::vector<Known>& known) {
  const auto names = registry.names();
  for (const auto& [name, source] : known)
    EXPECT_NE(std::ranges::find(names, name), names.end())
        << registry.family() << " '" << name << "' is missing (" << source << ")";
}

TEST(FieldKinds, RoutersAreThere) {
  expect_all(routing::routers(), kRouters);
}
TEST(FieldKinds, BalanceTermsAreThere) {
  expect_all(balance::terms(), kTerms);
}
TEST(FieldKinds, ExpertsAreThere) {
  expect_all(experts::expert_kinds(), kExperts);
}
TEST(FieldKinds, FeedForwardsAreThere) {
  expect_all(layers::feed_forwards(), kFeedForwards);
}

}  // namespace
}  // namespace moe::test
