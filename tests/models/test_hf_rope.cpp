// Rotary positions of config.json, both ways.
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/base/fields.h>
#include <moe/base/files.h>
#include <moe/formats/json_table.h>
#include <moe/models/decoder_family.h>
#include <moe/models/hf_rope.h>

namespace moe::models::hf_rope_test {

namespace {

HfConfig config_of(const std::string& text) {
  return {formats::parse_json_table(text, "test", "'c'"), "'c'"};
}

/// Every key was read.
Rope read(const std::string& text, const char* kind = nullptr) {
  const HfConfig c = config_of(text);
  const Rope out = rope_of(c, 1e6, kind);
  c.ignore({"max_position_embeddings"});
  c.refuse_unread();
  return out;
}

std::string text_of(const Rope& rope) {
  return Value(write_fields(rope)).text();
}

TEST(HfRope, ReadsBothDialects) {
  EXPECT_EQ(read("{}").theta, 1e6);
  EXPECT_EQ(read("{}").scaling, "none");
  EXPECT_EQ(read(R"({"rope_theta": 5e5, "rope_scaling": null})").theta, 5e5);
  EXPECT_EQ(read(R"({"rope_theta": 5e5, "rope_scaling": {"type": "default"}})").theta, 5e5);
  EXPECT_EQ(read(R"({"rope_theta": 3, "rope_parameters": {}})").theta, 3);
  const Rope newer = read(R"({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default",
                              "partial_rotary_factor": 0.5, "mrope_section": [1, 2]}})");
  EXPECT_EQ(newer.theta, 1e4);
  EXPECT_EQ(newer.share, 0.5);
  EXPECT_EQ(read(R"({"partial_rotary_factor": 0.25})").share, 0.25);
  EXPECT_EQ(read(R"({"rope_theta": 2, "rope_scaling": {"rope_type": "linear", "factor": 4,
                     "rope_theta": 7}})")
                .theta,
            7);
}

TEST(HfRope, ReadsEveryScaling) {
  const Rope linear = read(R"({"rope_scaling": {"type": "linear", "factor": 4}})");
  EXPECT_EQ(linear.scaling, "linear");
  EXPECT_EQ(linear.factor, 4);

  const Rope dynamic = read(
      R"({"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.5}})");
  EXPECT_EQ(dynamic.scaling, "dynamic");
  EXPECT_EQ(dynamic.original_length, 64);
  EXPECT_EQ(dynamic.factor, 2.5);
  const Rope hunyuan = read(
      R"({"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "alpha": 1000.0,
          "factor": 1.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}})");
  EXPECT_EQ(hunyuan.alpha, 1000);
  EXPECT_EQ(hunyuan.mscale, 0);

  const Rope llama =
      read(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.5,
               "high_freq_factor": 5, "original_max_position_embeddings": 8192}})");
  EXPECT_EQ(llama.scaling, "llama3");
  EXPECT_EQ(llama.low_frequency_factor, 1.5);
  EXPECT_EQ(llama.high_frequency_factor, 5);
  EXPECT_EQ(llama.original_length, 8192);

  const Rope yarn = read(
      R"({"max_position_embeddings": 1024, "rope_parameters": {"rope_type": "yarn", "factor": null,
          "original_max_position_embeddings": 256, "beta_fast": 8, "beta_slow": 0, "mscale": 1.2,
          "mscale_all_dim": 0.7, "truncate": false, "attention_factor": 1.1}})");
  EXPECT_EQ(yarn.scaling, "yarn");
  EXPECT_EQ(yarn.factor, 4);
  EXPECT_EQ(yarn.beta_fast, 8);
  EXPECT_EQ(yarn.beta_slow, 1);
  EXPECT_EQ(yarn.mscale, 1.2);
  EXPECT_EQ(yarn.mscale_all_dim, 0.7);
  EXPECT_EQ(yarn.attention_factor, 1.1);
  EXPECT_FALSE(yarn.truncate);

  const Rope phi = read(
      R"({"max_position_embeddings": 64, "original_max_position_embeddings": 16,
          "rope_scaling": {"type": "su", "short_factor": [1, 1.5], "long_factor": [2.5, 3],
          "short_mscale": 1.1, "long_mscale": 1.25, "original_max_position_embeddings": 32}})");
  EXPECT_EQ(phi.scaling, "longrope");
  EXPECT_EQ(phi.original_length, 16);
  EXPECT_EQ(phi.factor, 4);
  EXPECT_EQ(phi.short_factors, (std::vector<double>{1, 1.5}));
  EXPECT_EQ(phi.long_factors, (std::vector<double>{2.5, 3}));
  EXPECT_EQ(phi.short_mscale, 1.1);
  EXPECT_EQ(phi.long_mscale, 1.25);
  EXPECT_EQ(read(R"({"original_max_position_embeddings": 16})").scaling, "none");
}

TEST(HfRope, ReadsTheTableOfAKindOfLayers) {
  const std::string text =
      R"({"rope_parameters": {"full_attention": {"rope_type": "proportional",
          "partial_rotary_factor": 0.25, "rope_theta": 1e6}, "sliding_attention": {"rope_type":
          "default", "rope_theta": 10000.0}, "chunked_attention": null}})";
  const Rope full = read(text, "full_attention");
  EXPECT_EQ(full.scaling, "proportional");
  EXPECT_EQ(full.share, 0.25);
  const Rope sliding = read(text, "sliding_attention");
  EXPECT_EQ(sliding.scaling, "none");
  EXPECT_EQ(sliding.theta, 1e4);
  EXPECT_EQ(read(text, "chunked_attention").kind, "none");
  EXPECT_EQ(read(R"({"rope_theta": 3})", "full_attention").theta, 3);
}

TEST(HfRope, RefusesWhatItDoesNotKnowByName) {
  EXPECT_ERROR(read(R"({"rope_scaling": {"rope_type": "ntk", "factor": 8}})"),
               "at 'rope_scaling.rope_type' in 'c', got \"ntk\", which is not there yet: another "
               "scaling of positions");
  EXPECT_ERROR(read(R"({"rope_scaling": {"type": "linear", "factor": 8, "magic": 3}})"),
               "'rope_scaling.magic' = 3");
  EXPECT_ERROR(read(R"({"rope_scaling": {"type": "linear"}})"), "'rope_scaling.factor'");
  EXPECT_ERROR(read(R"({"rope_theta": -1})"), "theta' above 0, got -1");
  EXPECT_ERROR(read(R"({"rope_scaling": {"type": "linear", "factor": 8},
                        "rope_parameters": {"rope_type": "default"}})"),
               "got both, which differ");
  EXPECT_ERROR(read(R"({"rope_parameters": {"full_attention": {"rope_theta": 2}}})"),
               "'rope_parameters.full_attention");
  EXPECT_ERROR(read(R"({"max_position_embeddings": 8, "rope_scaling": {"type": "longrope",
               "short_factor": 3, "long_factor": [1]}})"),
               "expected a list of numbers at 'short_factor'");
}

TEST(HfRope, WhatIsWrittenIsReadAgain) {
  for (const std::string text :
       {R"({"rope_theta": 5e5})", R"({"partial_rotary_factor": 0.5})",
        R"({"rope_scaling": {"type": "linear", "factor": 4}})",
        R"({"rope_scaling": {"type": "dynamic", "factor": 4}})",
        R"({"rope_scaling": {"type": "dynamic", "alpha": 50}})",
        R"({"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.5,
            "high_freq_factor": 5, "original_max_position_embeddings": 32}})",
        R"({"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 8, "beta_slow": 2, "mscale":
            1.2, "mscale_all_dim": 0.7, "truncate": false, "attention_factor": 1.1,
            "original_max_position_embeddings": 32}})",
        R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1.5], "long_factor": [2.5, 3],
            "short_mscale": 1.1, "long_mscale": 1.25, "original_max_position_embeddings": 32}})",
        R"({"rope_scaling": {"type": "proportional", "factor": 2, "partial_rotary_factor": 0.5}})"})
    for (const char* kind : {static_cast<const char*>(nullptr), "sliding_attention"}) {
      SCOPED_TRACE(text);
      HfConfig c = config_of(text);
      Table settings = c.settings();
      settings.set("max_position_embeddings", 64);
      const Rope was = rope_of(HfConfig(settings, "'c'"), 1e4);
      Table written;
      written.set("max_position_embeddings", 64);
      if (kind) write_rope(written, Rope(), "full_attention");
      write_rope(written, was, kind);
      const HfConfig again(written, "'its'");
      EXPECT_EQ(text_of(rope_of(again, 1, kind)), text_of(was));
      again.ignore({"max_position_embeddings"});
      again.refuse_unread();
    }
}

// Some families took max_position_embeddings itself, so that no text could grow into the scaling.
TEST(HfRope, DynamicScalingMakesRoomInEveryFamily) {
  for (const std::string family :
       {"afmoe", "cohere2_moe", "deepseek", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe",
        "glm4_moe_lite", "granitemoe", "granitemoeshared", "hunyuan_v1_moe", "lfm2_moe", "llama",
        "minimax", "mixtral", "qwen3_next", "solar_open"}) {
    SCOPED_TRACE(family);
    const Path seed = Path(MOE_SOURCE_DIR) / "tests/fuzz/seeds/hf_config" / family;
    const auto published = config_of(read_file(real_files(), seed, 1 << 20));
    Table settings;
    for (const auto& [key, value] : published.settings())
      if (key != "rope_parameters") settings.set(key, value);
    settings.set("max_position_embeddings", int64_t{64});
    settings.set("rope_theta", 1e4);
    settings.set("rope_scaling", table_of({{"type", "dynamic"}, {"factor", 4.0}}));
    const auto context_length = [&](const Table& config) {
      return options_of<DecoderOptions>(family_of(family)->options(HfConfig(config, "'c'")))
          .context_length;
    };
    EXPECT_EQ(context_length(settings), 256);
    const auto written =
        family_of(family)->config(family_of(family)->options(HfConfig(settings, "'c'")));
    EXPECT_EQ(written.find("max_position_embeddings")->text(), "64");
    EXPECT_EQ(context_length(written), 256);
  }
}

}  // namespace

}  // namespace moe::models::hf_rope_test
