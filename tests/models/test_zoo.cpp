// Published models by name: their counts are those of ../shared/reference/model-zoo.md, section 1.
#include <cmath>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/models/counts.h>
#include <moe/models/family.h>
#include <moe/models/zoo.h>

namespace moe::models {
namespace {

/// In billions, to the digits that the table prints; -1: not stated.
struct Counted {
  const char* name;
  double total, active, without_input, without_embeddings;
  double digit;  // the last one printed
};

const std::vector<Counted> kCounted = {
    {"mixtral-8x7b", 46.70, 12.88, 12.75, 12.62, 0.01},
    {"mixtral-8x22b", 140.63, 39.16, 38.96, 38.76, 0.01},
    {"deepseek-moe-16b", 16.38, 2.83, 2.62, 2.41, 0.01},
    {"deepseek-moe-145b", 144.61, 22.19, 21.77, 21.35, 0.01},
    {"qwen1.5-moe-a2.7b", 14.32, 2.69, 2.38, 2.07, 0.01},
    {"dbrx", 131.60, 36.47, 35.85, 35.24, 0.01},
    {"arctic", 478.58, 17.32, 17.09, 16.86, 0.01},
    {"grok-1", 315.68, 83.76, 83.76, 82.95, 0.01},
    {"jetmoe-8b", 8.52, 2.33, 2.33, 2.27, 0.01},
    {"switch-base-8", 0.619, -1, -1, -1, 0.001},
    {"switch-base-16", 1.07, -1, -1, -1, 0.01},
    {"switch-base-32", 1.98, -1, -1, -1, 0.01},
    {"switch-base-64", 3.79, -1, -1, -1, 0.01},
    {"switch-base-128", 7.42, -1, -1, -1, 0.01},
    {"switch-base-256", 14.66, -1, -1, -1, 0.01},
    {"switch-large-128", 26.31, 0.741, -1, 0.708, 0.01},
    {"switch-c-2048", 1571, 1.75, 1.68, 1.61, 1},
    {"olmoe-1b-7b", 6.92, 1.28, 1.18, 1.08, 0.01},
    {"qwen3-30b-a3b", 30.53, 3.35, 3.04, 2.73, 0.01},
    {"deepseek-v2-lite", 15.71, 2.66, 2.45, 2.24, 0.01},
    {"deepseek-v3", 671.03, 37.55, 36.63, 35.70, 0.01},
    {"kimi-k2", 1026, 32.86, 31.69, 30.51, 1},
    {"gpt-oss-20b", 20.91, 4.19, 3.61, 3.03, 0.01},
    {"gpt-oss-120b", 116.83, 5.71, 5.13, 4.55, 0.01},
    {"phi-3.5-moe", 41.87, 6.64, 6.51, 6.38, 0.01},
    {"granite-3-1b-a400m", 1.33, 0.429, 0.429, 0.378, 0.01},
    {"granite-3-3b-a800m", 3.30, 0.883, 0.883, 0.807, 0.01},
    {"llama-4-scout", 107.77, 17.17, 16.14, 15.10, 0.01},
    {"glm-4.5-air", 106.85, 13.42, 12.80, 12.18, 0.01},
    {"switch-xxl-128", 394.68, 11.15, 11.02, 10.88, 0.01},
    {"st-moe-32b", 269.10, 35.06, 34.90, 34.73, 0.01},
    // The active count of the table has the target language's 33M embeddings twice.
    {"gshard-600b", 619.4, 1.495, -1, -1, 0.1},
    {"glam-64b-64e", 1161.8, 96.60, 96.60, 94.51, 0.1},
    {"soft-moe-s-16", 0.9337, 0.9337, -1, -1, 0.0001},
    {"soft-moe-s-14", 1.84, 1.84, -1, -1, 0.01},
    {"soft-moe-b-16", 3.71, 3.71, -1, -1, 0.01},
    {"soft-moe-l-16", 13.13, 13.13, -1, -1, 0.01},
    {"soft-moe-h-14", 27.32, 27.32, -1, -1, 0.01},
    {"soft-moe-h-14-256", 54.18, 54.18, -1, -1, 0.01},
    {"t5-xxl", 11.14, 11.14, -1, -1, 0.01},
    {"v-moe-s-32", 0.2969, 0.0449, -1, -1, 0.0001},
    {"v-moe-b-16", 0.9790, 0.1289, -1, -1, 0.0001},
    {"v-moe-l-16", 3.4460, 0.4242, -1, -1, 0.0001},
    {"v-moe-h-14-last-5", 2.6886, 0.7216, -1, -1, 0.0001},
    {"v-moe-h-14", 7.1608, 0.8663, -1, -1, 0.0001},
    {"v-moe-15b", 14.7051, 1.7233, -1, -1, 0.0001},
    {"vit-h-14", 0.632, 0.632, -1, -1, 0.001},
    {"llama-2-70b", 68.98, 68.98, -1, -1, 0.01},
    {"gpt-3-175b", 174.6, 174.6, -1, -1, 0.1},
    {"gpt-4-rumour-16x111b", 1830, 277, -1, -1, 10},
    // Total: what transformers allocates; active: without the experts that a token does not choose.
    {"qwen3-next-80b-a3b", 79.67, 3.87, 3.56, 3.25, 0.01},
    {"qwen3.5-35b-a3b", 34.66, 3.45, 2.95, 2.44, 0.01},
    {"mistral-small-4-119b", 118.97, 6.63, 6.10, 5.56, 0.01},
    {"deepseek-v3.2", 671.88, 38.40, 37.48, 36.55, 0.01},
    {"glm-5", 743.91, 41.78, 40.83, 39.88, 0.01},
    {"kimi-linear-48b-a3b", 49.12, 3.48, 3.11, 2.73, 0.01},
    {"jamba-v0.1", 51.57, 12.11, 11.84, 11.57, 0.01},
    {"mimo-v2-flash", 308.78, 15.45, 14.82, 14.20, 0.01},
    {"solar-open-100b", 102.65, 12.05, 11.25, 10.44, 0.01},
    {"minimax-m2", 228.69, 11.03, 10.42, 9.80, 0.01},
    {"glm-4.7-flash", 29.94, 3.90, 3.58, 3.26, 0.01},
    {"ernie-4.5-21b-a3b", 21.83, 3.35, 3.35, 3.09, 0.01},
    {"lfm2-8b-a1b", 8.34, 1.56, 1.56, 1.42, 0.01},
    // Of 12 choices among 512 experts and 256 identities 8 are experts on average.
    {"longcat-flash", 560.66, 27.95, 27.15, 26.34, 0.01},
    {"nllb-moe-54b", 54.50, 3.75, 3.75, 3.23, 0.01},
    // As transformers 5.24 allocates the published configurations.
    {"gemma-4-26b-a4b", 25.233, 3.823, 3.823, 3.084, 0.001},
    {"north-mini-code-1.0", 30.484, 3.305, 3.305, 2.768, 0.001},
    {"trinity-nano", 6.120, 1.024, 0.819, 0.614, 0.001},
    {"trinity-mini", 26.124, 3.475, 3.065, 2.655, 0.001},
    {"trinity-large", 398.635, 13.372, 12.757, 12.142, 0.001},
    {"minimax-text-01", 456.090, 48.403, 47.174, 45.945, 0.001},
    {"dots.llm1", 142.774, 14.017, 13.394, 12.771, 0.001},
    {"hunyuan-a13b", 80.393, 12.747, 12.747, 12.222, 0.001},
    {"granite-4.0-h-small", 32.207, 8.803, 8.803, 8.392, 0.001},
    {"granite-4.0-h-tiny", 6.939, 1.465, 1.465, 1.311, 0.001},
};

TEST(Zoo, CountsAsTheirAuthorsDo) {
  for (const auto& c : kCounted) {
    SCOPED_TRACE(c.name);
    const auto counts = count(known_model(c.name).spec);
    const auto near = [&](int64_t numbers, double billions, double digit) {
      if (billions < 0) return;
      EXPECT_NEAR(static_cast<double>(numbers) / 1e9, billions, 0.5001 * digit);
    };
    near(counts.total, c.total, c.digit);
    // Active counts of the largest models are printed with two decimals beside whole totals.
    const double digit = std::min(c.digit, c.active < 1 ? 0.001 : 0.01);
    near(counts.active, c.active, c.digit > 1 ? c.digit : digit);
    near(counts.active_without_input_embedding, c.without_input, digit);
    near(counts.active_without_embeddings, c.without_embeddings, digit);
  }
}

TEST(Zoo, AllEntriesDescribeAModel) {
  const auto all = known_models();
  ASSERT_GE(all.size(), kCounted.size());
  for (const auto& known : all) {
    SCOPED_TRACE(known.name);
    EXPECT_FALSE(known.title.empty());
    EXPECT_FALSE(known.published.empty());
    EXPECT_TRUE(is_known_model(known.name));
    const auto described = known_model(known.name);
    EXPECT_GT(count(described.spec).total, 0);
    EXPECT_NO_THROW(make_model(described.spec));
  }
  EXPECT_FALSE(is_known_model("mixtral-8x8b"));
  EXPECT_ERROR(known_model("mixtral-8x8b"), "Did you mean 'mixtral-8x7b'?");
}

}  // namespace
}  // namespace moe::models
