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
    {"hierarchical", "Jordan & Jacobs 1994"},
    {"grouped_topk", "Tang et al. 2025 (Pangu Pro MoE)"},
    {"per_head", "Wu et al. 2024; He 2024"},
    {"task_adaptive", "Ma et al. 2018; Gupta et al. 2022"},
    {"domain_aware", "Gururangan et al. 2022"},
    {"cross_modal", "Mustafa et al. 2022; Lin et al. 2024"},
    {"top_p", "Huang et al. 2024"},
    {"threshold", "every expert above a threshold"},
    {"base", "Lewis et al. 2021"},
    {"sinkhorn", "Clark et al. 2022"},
    {"relu", "Wang et al. 2024 (ReMoE)"},
    {"dynmoe", "Guo et al. 2024"},
    {"thor", "Zuo et al. 2021"},
    {"policy_gradient", "Bengio et al. 2015; Clark et al. 2022"},
    {"quantile", "Su 2026"},
    {"token_rounding", "Guo et al. 2025 (SonicMoE)"},
    {"gating_residual", "Jin et al. 2024 (MoE++)"},
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
    {"token_entropy", "Huang et al. 2024"},
    {"domain_classifier", "a router that tells domains apart"},
    {"relu_l1", "Wang et al. 2024 (ReMoE)"},
    {"gate_diversity", "Guo et al. 2024 (DynMoE)"},
    {"similarity", "SimBal 2025"},
};

const std::vector<Known> kExperts = {
    {"ffn", "Vaswani et al. 2017"},
    {"gated", "Shazeer 2020 (SwiGLU, GEGLU, ReGLU)"},
    {"clamped", "OpenAI 2025 (gpt-oss)"},
    {"basic", "a linear map and its activation"},
    {"advanced", "feed-forward with LayerNorm and dropout"},
    {"low_rank", "products of thin matrices"},
    {"lora", "Hu et al. 2021, an adapter an expert"},
    {"mixed_widths", "Wang et al. 2024 (HMoE)"},
    {"top_activations", "neurons that are active alone"},
};

const std::vector<Known> kFeedForwards = {
    {"dense", "Vaswani et al. 2017"},
    {"moe", "Shazeer et al. 2017"},
    {"soft_moe", "Puigcerver et al. 2023"},
    {"multi_head_moe", "Wu et al. 2024"},
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
