// Families whose attention is over grouped queries: their authors' numbers, decoding and export.
#include <gtest/gtest.h>

#include <moe/formats/json_table.h>
#include <moe/models/counts.h>

#include "tests/models/family_checks.h"

namespace moe::models {
namespace {

const std::vector<std::string> kGqaCases = {
    "granitemoe_basic", "granitemoeshared", "deepseek_moe",   "dots1",         "ernie4_5_moe",
    "hunyuan_v1_moe",   "minimax_m2",       "glm4_moe_basic", "solar_open",    "arctic",
    "grok_1",           "cohere2_moe",      "afmoe",          "mimo_v2_flash", "gemma4_moe"};

const Path kGqaFolder = Path(MOE_SHARED_DIR) / "parity";

bool has_gqa_cases() {
  return real_files().exists(kGqaFolder / "README.md");
}

TEST(FamiliesOfGroupedQueries, GiveTheNumbersOfTheSharedCases) {
  if (!has_gqa_cases()) GTEST_SKIP() << "no parity cases at " << kGqaFolder;
  for (const auto& name : kGqaCases) test::expect_parity(kGqaFolder / name);
}

TEST(FamiliesOfGroupedQueries, DecodeAsInFullPasses) {
  if (!has_gqa_cases()) GTEST_SKIP() << "no parity cases at " << kGqaFolder;
  for (const auto& name : kGqaCases) test::expect_decoding_matches(kGqaFolder / name, 20);
}

TEST(FamiliesOfGroupedQueries, ComeBackBitForBit) {
  if (!has_gqa_cases()) GTEST_SKIP() << "no parity cases at " << kGqaFolder;
  for (const auto& name : kGqaCases) test::expect_round_trip(kGqaFolder / name);
}

/// What published models are made of, as far as it counts, and what they count.
struct PublishedGqa {
  const char *name, *figures;  // as their authors give them
  int64_t total, active;
  const char* config;
};

const std::vector<PublishedGqa> kPublishedGqa = {
    {"dots.llm1", "142B, 14B active", 142'774'373'888, 14'016'581'120,
     R"({"model_type": "dots1", "vocab_size": 152064, "hidden_size": 4096,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 62,
        "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
        "n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6,
        "first_k_dense_replace": 1, "tie_word_embeddings": false, "max_position_embeddings":
        4096})"},
    {"ERNIE-4.5-21B-A3B", "21B, 3B active", 21'825'436'160, 3'352'148'480,
     R"({"model_type": "ernie4_5_moe", "vocab_size": 103424, "hidden_size": 2560,
        "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_hidden_layers": 28,
        "num_attention_heads": 20, "num_key_value_heads": 4, "moe_num_experts": 64, "moe_k":
        6, "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_end_index": 29,
        "moe_layer_interval": 1, "tie_word_embeddings": true, "max_position_embeddings": 4096})"},
    {"Hunyuan-A13B", "80B, 13B active", 80'393'183'232, 12'747'448'320,
     R"({"model_type": "hunyuan_v1_moe", "vocab_size": 128167, "hidden_size": 4096,
        "intermediate_size": 3072, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "num_experts": 64, "tie_word_embeddings":
        true, "moe_topk": 8, "max_position_embeddings": 4096})"},
    {"MiniMax-M2", "230B, 10B active", 228'689'748'992, 11'030'537'216,
     R"({"model_type": "minimax_m2", "vocab_size": 200064, "hidden_size": 3072,
        "intermediate_size": 1536, "num_hidden_layers": 62, "num_attention_heads": 48,
        "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 256,
        "num_experts_per_tok": 8, "rotary_dim": 64, "sliding_window": null,
        "tie_word_embeddings": false, "max_position_embeddings": 4096})"},
    {"GLM-4.5", "355B with its layer of prediction, 32B active", 352'797'814'784, 33'632'251'904,
     R"({"model_type": "glm4_moe", "vocab_size": 151552, "hidden_size": 5120,
        "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_hidden_layers": 92,
        "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128,
        "n_routed_experts": 160, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 3, "use_qk_norm": true, "attention_bias": true,
        "tie_word_embeddings": false, "max_position_embeddings": 4096})"},
    {"Solar-Open-100B", "102B, 12B active", 102'651'793'408, 12'054'827'008,
     R"({"model_type": "solar_open", "vocab_size": 196608, "hidden_size": 4096,
        "intermediate_size": 10240, "moe_intermediate_size": 1280, "num_hidden_layers": 48,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 0, "tie_word_embeddings": false, "max_position_embeddings":
        4096})"},
    {"Trinity-Mini", "26B, 3B active", 26'123'970'560, 3'474'728'960,
     R"({"model_type": "afmoe", "vocab_size": 200192, "hidden_size": 2048,
        "intermediate_size": 6144, "moe_intermediate_size": 1024, "num_hidden_layers": 32,
        "num_dense_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "num_shared_experts":
        1, "sliding_window": 2048, "tie_word_embeddings": false, "max_position_embeddings":
        4096})"},
    {"MiMo-V2-Flash", "309B, 15B active", 308'778'768'832, 15'445'924'288,
     R"({"model_type": "mimo_v2_flash", "vocab_size": 152576, "hidden_size": 4096,
        "intermediate_size": 16384, "moe_intermediate_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim":
        128, "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_head_dim": 192,
        "swa_v_head_dim": 128, "n_routed_experts": 256, "num_experts_per_tok": 8,
        "sliding_window": 128, "add_swa_attention_sink_bias": true, "tie_word_embeddings":
        false, "max_position_embeddings": 4096})"},
    {"Gemma-4-26B-A4B", "26B with its images, 4B active", 25'233'141'760, 3'822'530'560,
     R"({"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 2816,
        "intermediate_size": 2112, "moe_intermediate_size": 704, "num_hidden_layers": 30,
        "num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2,
        "head_dim": 256, "global_head_dim": 512, "attention_k_eq_v": true, "num_experts": 128,
        "top_k_experts": 8, "enable_moe_block": true, "sliding_window": 1024,
        "max_position_embeddings": 4096})"}};

TEST(FamiliesOfGroupedQueries, CountTheirPublishedNumbers) {
  for (const auto& model : kPublishedGqa) {
    SCOPED_TRACE(std::string(model.name) + ": " + model.figures);
    const HfConfig config(formats::parse_json_table(model.config, "test", "'config.json'"),
                          "'config.json'");
    const auto counts = count(family_of(config)->options(config));
    EXPECT_EQ(counts.total, model.total);
    EXPECT_EQ(counts.active, model.active);
  }
}

}  // namespace
}  // namespace moe::models
