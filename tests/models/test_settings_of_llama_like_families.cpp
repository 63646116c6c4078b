// Settings of config.json of families whose attention is over grouped queries: Llama's block with
// other experts.
#include <gtest/gtest.h>

#include "tests/models/family_settings.h"

namespace moe::models {
namespace {

TEST(FamilySettings, OfGraniteMoe) {
  const char* config = R"({"model_type": "granitemoeshared", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 6, "shared_intermediate_size": 10, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4,
    "num_experts_per_tok": 3, "attention_multiplier": 0.125, "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22, "logits_scaling": 6.0, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "tie_word_embeddings": true, "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{"{}",
         {{"blocks[0].mixer.scale", "0.125"},
          {"blocks[1].mixer_scale", "0.22"},
          {"blocks[1].feed_forward_scale", "0.22"},
          {"embedding_scale", "12.0"},
          {"blocks[0].feed_forward.router.softmax", "\"after\""},
          {"blocks[0].feed_forward.shared.d_ff", "10"},
          {"tied_embeddings", "true"}},
         {"model.layers.1.shared_mlp.input_linear.weight", "!lm_head.weight"}},
        {R"({"shared_intermediate_size": 0})",
         {{"blocks[0].feed_forward.shared.kind", "\"dense\""}},
         {"!model.layers.1.shared_mlp.input_linear.weight"}},
        {R"({"attention_bias": true, "tie_word_embeddings": false})",
         {{"blocks[0].mixer.bias", "true"}, {"blocks[0].mixer.output_bias", "true"}},
         {"model.layers.0.self_attn.o_proj.bias", "lm_head.weight"}},
        {R"({"num_key_value_heads": null, "attention_multiplier": 1, "logits_scaling": 3})",
         {{"blocks[0].mixer.kv_heads", "4"}, {"blocks[0].mixer.scale", "1.0"}}}},
       {{R"({"hidden_act": "mish"})", "at 'hidden_act'"},
        {R"({"model_type": "granitemoe"})", "'shared_intermediate_size' = 10"}}});
}

TEST(FamilySettings, OfDeepSeekMoE) {
  const char* config = R"({"model_type": "deepseek", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 6, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 6,
    "n_shared_experts": 2, "num_experts_per_tok": 3, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "norm_topk_prob": false, "scoring_func": "softmax",
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
    "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{"{}",
         {{"blocks[0].feed_forward.kind", "\"dense\""},
          {"blocks[0].feed_forward.d_ff", "20"},
          {"blocks[1].feed_forward.num_experts", "6"},
          {"blocks[1].feed_forward.router.renormalise", "false"},
          {"blocks[3].feed_forward.shared.d_ff", "12"}},
         {"model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.experts.5.up_proj.weight"}},
        {R"({"norm_topk_prob": true, "n_shared_experts": null})",
         {{"blocks[1].feed_forward.router.renormalise", "true"}},
         {"!model.layers.1.mlp.shared_experts.up_proj.weight"}},
        {R"({"norm_topk_prob": true, "num_experts_per_tok": 1})",
         {{"blocks[1].feed_forward.router.renormalise", "false"}}},
        {R"({"first_k_dense_replace": 0, "moe_layer_freq": 2})",
         {{"blocks[0].feed_forward.kind", "\"moe\""},
          {"blocks[1].feed_forward.kind", "\"dense\""},
          {"blocks[2].feed_forward.kind", "\"moe\""}}},
        {R"({"n_routed_experts": null})", {{"blocks[3].feed_forward.kind", "\"dense\""}}}},
       {{R"({"scoring_func": "sigmoid"})", "at 'scoring_func'"},
        {R"({"first_k_dense_replace": -1})", "at 'first_k_dense_replace'"}}});
}

TEST(FamilySettings, OfDots1) {
  const char* config = R"({"model_type": "dots1", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 6, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "n_routed_experts": 6,
    "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "norm_topk_prob": true, "routed_scaling_factor": 1.5, "n_group": 1, "topk_group": 1,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
    "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{"{}",
         {{"blocks[2].mixer.window", "0"},
          {"blocks[0].mixer.qk_norm", "\"head\""},
          {"blocks[2].feed_forward.router.scale", "1.5"}},
         {"model.layers.1.mlp.gate.e_score_correction_bias"}},
        {R"({"sliding_window": 4, "max_window_layers": 1})",
         {{"blocks[0].mixer.window", "0"}, {"blocks[1].mixer.window", "4"}}},
        {R"({"sliding_window": 4, "max_window_layers": 1, "use_sliding_window": false})",
         {{"blocks[1].mixer.window", "0"}}},
        {R"({"sliding_window": 5, "layer_types":
             ["sliding_attention", "full_attention", "full_attention"]})",
         {{"blocks[0].mixer.window", "5"}, {"blocks[2].mixer.window", "0"}}},
        {R"({"n_group": 3, "topk_group": 2, "norm_topk_prob": null, "n_shared_experts": null,
             "scoring_func": "noaux_tc", "attention_bias": true})",
         {{"blocks[1].feed_forward.router.groups", "3"},
          {"blocks[1].feed_forward.router.kept_groups", "2"},
          {"blocks[1].feed_forward.router.renormalise", "false"}},
         {"model.layers.0.self_attn.o_proj.bias", "model.layers.2.self_attn.q_norm.weight"}}},
       {{R"({"scoring_func": "softmax"})", "at 'scoring_func'"},
        {R"({"topk_method": "greedy"})", "at 'topk_method'"},
        {R"({"layer_types": ["full_attention"]})",
         "expected 3 entries, one a layer, at 'layer_types'"},
        {R"({"layer_types": ["full_attention", "linear_attention", "full_attention"]})",
         "at 'layer_types'"}}});
}

TEST(FamilySettings, OfErnie) {
  const char* config = R"({"model_type": "ernie4_5_moe", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 6, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "moe_num_experts": 6, "moe_k": 2,
    "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_end_index": 3,
    "moe_layer_interval": 1, "moe_norm_min": 1e-12, "use_bias": false, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "tie_word_embeddings": true, "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{"{}",
         {{"blocks[0].mixer.rope.kind", "\"interleaved\""},
          {"blocks[0].feed_forward.kind", "\"dense\""},
          {"blocks[3].feed_forward.kind", "\"moe\""},
          {"blocks[4].feed_forward.kind", "\"dense\""},
          {"blocks[1].feed_forward.router.selection_bias", "true"},
          {"blocks[1].feed_forward.shared.d_ff", "12"}},
         {"model.layers.1.mlp.moe_statics.e_score_correction_bias", "!lm_head.bias"}},
        {R"({"moe_layer_end_index": -1, "moe_layer_interval": 2, "moe_norm_min": 0.5})",
         {{"blocks[1].feed_forward.kind", "\"moe\""},
          {"blocks[2].feed_forward.kind", "\"dense\""},
          {"blocks[3].feed_forward.router.least_sum", "0.5"},
          {"blocks[4].feed_forward.kind", "\"dense\""}}},
        {R"({"use_bias": true})",
         {{"head_bias", "true"}, {"blocks[1].feed_forward.shared.bias", "true"}},
         {"lm_head.bias", "model.layers.0.mlp.up_proj.bias", "model.layers.0.self_attn.o_proj.bias",
          "model.layers.1.mlp.shared_experts.down_proj.bias",
          "!model.layers.1.mlp.experts.0.up_proj.bias"}},
        {R"({"moe_num_shared_experts": 0, "tie_word_embeddings": null})",
         {{"tied_embeddings", "true"}},
         {"!model.layers.1.mlp.shared_experts.up_proj.weight"}}},
       {{R"({"moe_gate": "top2"})", "at 'moe_gate'"},
        {R"({"moe_use_aux_free": false})", "at 'moe_use_aux_free'"}}});
}

TEST(FamilySettings, OfHunyuan) {
  const char* config = R"({"model_type": "hunyuan_v1_moe", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "num_experts": 4, "moe_topk": 2,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
    "attention_bias": false, "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{"{}",
         {{"blocks[0].mixer.qk_norm_position", "\"after\""},
          {"blocks[0].feed_forward.shared.d_ff", "6"}},
         {"model.layers.0.self_attn.query_layernorm.weight", "model.layers.1.mlp.gate.wg.weight"}},
        {R"({"moe_topk": [1, 3], "num_experts": [4, 5], "moe_intermediate_size": [8, 4],
             "num_shared_expert": [2, 1]})",
         {{"blocks[0].feed_forward.top_k", "1"},
          {"blocks[1].feed_forward.top_k", "3"},
          {"blocks[1].feed_forward.num_experts", "5"},
          {"blocks[1].feed_forward.expert.d_ff", "4"},
          {"blocks[0].feed_forward.shared.d_ff", "12"}},
         {"model.layers.1.mlp.experts.4.up_proj.weight"}},
        {R"({"moe_layer_num_skipped": 1, "use_mixed_mlp_moe": false})",
         {{"blocks[0].feed_forward.kind", "\"dense\""}},
         {"model.layers.0.mlp.up_proj.weight", "!model.layers.1.mlp.shared_mlp.up_proj.weight"}},
        {R"({"use_qk_norm": false, "attention_bias": true, "rope_theta": 100.0,
             "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}})",
         {{"blocks[0].mixer.qk_norm", "\"none\""},
          {"blocks[0].mixer.rope.scaling", "\"dynamic\""},
          {"blocks[0].mixer.rope.alpha", "1000.0"}},
         {"!model.layers.0.self_attn.query_layernorm.weight",
          "model.layers.0.self_attn.o_proj.bias"}}},
       {{R"({"use_cla": true})", "at 'use_cla'"},
        {R"({"moe_topk": [1]})", "expected 2 entries, one a layer, at 'moe_topk'"},
        {R"({"norm_topk_prob": false})", "at 'norm_topk_prob'"}}});
}

TEST(FamilySettings, OfModelsWithoutSparseOrSlidingLayers) {
  const char* qwen = R"({"model_type": "qwen2_moe", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 7,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 4,
    "num_experts_per_tok": 2, "mlp_only_layers": [0, 1], "max_position_embeddings": 64})";
  test::expect_setting(qwen, {"{}", {{"blocks[1].feed_forward.kind", "\"dense\""}}});
  const char* gpt_oss = R"({"model_type": "gpt_oss", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "layer_types": ["full_attention", "full_attention"], "max_position_embeddings": 64})";
  test::expect_setting(gpt_oss, {"{}", {{"blocks[0].mixer.window", "0"}}});
  // transformers makes the mask of sliding layers also where there is none.
  const auto written =
      family_of("gpt_oss")->config(test::spec_of_config(test::with_change(gpt_oss, "{}")));
  ASSERT_NE(written.find("sliding_window"), nullptr);
  EXPECT_FALSE(written.find("sliding_window")->empty());
}

TEST(FamilySettings, OfMiniMaxM2) {
  const char* config = R"({"model_type": "minimax_m2", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
    "rms_norm_eps": 1e-6, "rope_theta": 5000000.0, "rotary_dim": 4, "tie_word_embeddings": false,
    "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{R"({"scoring_func": "sigmoid", "qk_norm_type": "per_layer", "shared_intermediate_size": 0,
             "attn_type_list": [1, 1], "use_mtp": true, "num_mtp_modules": 3})",
         {{"blocks[0].mixer.rope.share", "0.5"},
          {"blocks[0].mixer.qk_norm", "\"projection\""},
          {"blocks[0].feed_forward.router.kind", "\"sigmoid\""}},
         {"model.layers.1.block_sparse_moe.e_score_correction_bias",
          "model.layers.1.block_sparse_moe.experts.3.w3.weight"}},
        {R"({"rotary_dim": null})", {{"blocks[0].mixer.rope.share", "1.0"}}},
        {R"({"use_qk_norm": false, "use_routing_bias": false})",
         {{"blocks[0].mixer.qk_norm", "\"none\""}},
         {"!model.layers.0.self_attn.q_norm.weight",
          "!model.layers.1.block_sparse_moe.e_score_correction_bias"}}},
       {{R"({"attn_type_list": [1, 0]})", "linear attention"},
        {R"({"shared_intermediate_size": 8})", "at 'shared_intermediate_size'"},
        {R"({"layernorm_mlp_beta": 2})", "at 'layernorm_mlp_beta'"},
        {R"({"scoring_func": "softmax"})", "at 'scoring_func'"}}});
}

TEST(FamilySettings, OfGlm4AndSolar) {
  const char* config = R"({"model_type": "glm4_moe", "vocab_size": 20, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 6, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "n_routed_experts": 6,
    "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "norm_topk_prob": true, "routed_scaling_factor": 1.5, "n_group": 1, "topk_group": 1,
    "use_qk_norm": false, "attention_bias": true, "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "tie_word_embeddings": false,
    "max_position_embeddings": 64})";
  test::expect_settings(
      {config,
       {{R"({"num_nextn_predict_layers": 1})",
         {{"blocks[0].mixer.rope.share", "0.5"},
          {"blocks[0].mixer.bias", "true"},
          {"blocks[0].mixer.output_bias", "false"},
          {"blocks[0].feed_forward.kind", "\"dense\""}},
         {"model.layers.0.self_attn.q_proj.bias", "!model.layers.0.self_attn.o_proj.bias"}},
        {R"({"partial_rotary_factor": null, "use_qk_norm": true, "attention_bias": false})",
         {{"blocks[0].mixer.rope.share", "0.5"}, {"blocks[0].mixer.qk_norm", "\"head\""}},
         {"model.layers.0.self_attn.k_norm.weight"}},
        {R"({"rope_theta": null, "partial_rotary_factor": null, "rope_parameters":
             {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25}})",
         {{"blocks[0].mixer.rope.share", "0.25"}, {"blocks[0].mixer.rope.theta", "500.0"}}},
        {R"({"first_k_dense_replace": 3, "partial_rotary_factor": 1.0})",
         {{"blocks[2].feed_forward.kind", "\"dense\""}, {"blocks[2].mixer.rope.share", "1.0"}}},
        {R"({"first_k_dense_replace": 0, "n_group": 3, "topk_group": 1, "n_shared_experts": 2})",
         {{"blocks[0].feed_forward.router.kept_groups", "1"},
          {"blocks[0].feed_forward.shared.d_ff", "12"}}}},
       {{R"({"topk_method": "group_limited_greedy"})", "at 'topk_method'"}}});
  const char* solar = R"({"model_type": "solar_open", "vocab_size": 20, "hidden_size": 16,
    "moe_intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "n_routed_experts": 6, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "norm_topk_prob": true, "routed_scaling_factor": 1.5, "n_group": 1,
    "topk_group": 1, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
    "max_position_embeddings": 64})";
  test::expect_settings(
      {solar,
       {{"{}", {{"blocks[0].mixer.rope.theta", "1e+06"}, {"blocks[0].mixer.rope.share", "1.0"}}},
        {R"({"attention_bias": true, "rope_scaling":
             {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}})",
         {{"blocks[0].mixer.rope.scaling", "\"yarn\""},
          {"blocks[0].mixer.rope.factor", "4.0"},
          {"blocks[0].mixer.rope.original_length", "16"}},
         {"model.layers.0.self_attn.v_proj.bias", "!model.layers.0.self_attn.o_proj.bias"}}},
       {{R"({"first_k_dense_replace": 1})", "at 'first_k_dense_replace'"},
        {R"({"use_qk_norm": true})", "at 'use_qk_norm'"}}});
}

}  // namespace
}  // namespace moe::models
