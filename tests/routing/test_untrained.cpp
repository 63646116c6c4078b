// Routers that no task loss can train say so, and what they advise mends it.
#include <regex>

#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/routers.h"

namespace moe::test {
namespace {

std::string why_untrained(const std::string& kind, int64_t top_k, const Table& settings,
                          at::Device device = at::kMeta) {
  return routing::routers()
      .at(kind)
      .make({.d_model = 4, .num_experts = 6, .top_k = top_k, .tensors = at::TensorOptions(device)},
            settings)
      ->untrained();
}

/// The settings in brackets, as a user would write them.
Table advised(const std::string& why, Table settings) {
  static const std::regex kSetting("(\\w+) = (\\w+|\"\\w+\")");
  for (std::sregex_iterator i(why.begin(), why.end(), kSetting), end; i != end; ++i) {
    const std::string value = (*i)[2];
    settings.set((*i)[1],
                 value == "false" ? Value(false) : Value(value.substr(1, value.size() - 2)));
  }
  return settings;
}

/// Settings of each kind that has some that make one choice weigh 1.
std::vector<std::pair<std::string, Table>> untrained_routers() {
  Table after;
  after.set("softmax", "after");
  std::vector<std::pair<std::string, Table>> out;
  for (const char* kind :
       {"topk", "cosine", "mlp", "warmup_noise", "noisy_topk", "sigmoid", "gshard"})
    out.emplace_back(kind, Table());
  for (const char* kind : {"topk", "cosine", "mlp", "warmup_noise", "noisy_topk"}) {
    out.emplace_back(kind, after);
    Table both = after;
    both.set("renormalise", false);
    if (std::string(kind) != "noisy_topk") out.emplace_back(kind, both);
  }
  return out;
}

TEST(Untrained, WhatARouterAdvisesMendsIt) {
  for (const auto& [kind, settings] : untrained_routers()) {
    SCOPED_TRACE(concat(kind, ' ', Value(settings).text()));
    const std::string why = why_untrained(kind, 1, settings);
    ASSERT_PRED2(contains, why, "so the task loss cannot train the router");
    EXPECT_TRUE(contains(why, "raise top_k") || contains(why, "Raise top_k")) << why;
    EXPECT_EQ(why_untrained(kind, 2, settings), "");
    if (!contains(why, "Keep the weight as it is")) continue;
    EXPECT_EQ(why_untrained(kind, 1, advised(why, settings)), "") << why;
  }
}

TEST(Untrained, NamesOnlyWhatStandsAgainstIt) {
  Table settings;
  settings.set("renormalise", false);
  settings.set("softmax", "after");
  EXPECT_PRED2(contains, why_untrained("topk", 1, settings),
               "Keep the weight as it is (softmax = \"before\"), or raise top_k.");
  EXPECT_PRED2(contains, why_untrained("noisy_topk", 1, {}),
               "Keep the weight as it is (softmax = \"before\"), or raise top_k.");
  settings.set("renormalise", true);
  EXPECT_PRED2(contains, why_untrained("topk", 1, settings),
               "(softmax = \"before\", renormalise = false)");
  EXPECT_PRED2(contains, why_untrained("gshard", 1, {}), "cannot train the router. Raise top_k.");
}

/// Every registered router: it is told of once where it has memory, and never where it has none.
TEST(Untrained, IsSaidAloudByRoutersWithMemoryAlone) {
  for (const auto& kind : routing::routers().names()) {
    SCOPED_TRACE(kind);
    for (const auto device : {at::kMeta, at::kCPU}) {
      testing::internal::CaptureStderr();
      std::string why;
      try {
        why = why_untrained(kind, 1, {}, device);
      } catch (const ConfigError&) {  // a kind that wants settings
      }
      const std::string log = testing::internal::GetCapturedStderr();
      EXPECT_EQ(log, why.empty() || device == at::kMeta ? "" : concat("warning: ", why, '\n'));
    }
  }
}

TEST(Remedies, OfAThresholdAndOfTooFewChoices) {
  Table settings;
  settings.set("threshold", 0.0);
  EXPECT_ERROR(why_untrained("gshard", 2, settings),
               "or leave it out and set second = \"all\" to keep every expert.");
  Table all;
  all.set("second", "all");
  EXPECT_EQ(why_untrained("gshard", 2, all), "");
  EXPECT_ERROR(why_untrained("topk", 0, {}), "got 0. Raise it.");
  EXPECT_ERROR(why_untrained("topk", 7, {}), "got 7. Lower top_k or add experts.");
}

}  // namespace
}  // namespace moe::test
