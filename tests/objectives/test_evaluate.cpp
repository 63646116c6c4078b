// B batch, S sequence, V vocabulary.
#include <cmath>
#include <fstream>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/objectives/evaluate.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace moe::objectives {
namespace {

using models::Model;
using moe::test::run_rows;
using moe::test::TemporaryFolder;
using moe::test::tiny_model;
using moe::test::tiny_text_model;

std::filesystem::path write(const TemporaryFolder& folder, const std::string& text) {
  std::ofstream(folder / "text", std::ios::binary) << text;
  return folder / "text";
}

/// Sum of -log p of every token but the first, in windows of S one after another.
double naive_loss_sum(Model& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto S = static_cast<size_t>(model.traits().context_length);
  double sum = 0;
  for (size_t begin = 0; begin + 1 < ids.size(); begin += S) {
    const size_t length = std::min(S, ids.size() - 1 - begin);
    const std::vector<int64_t> window(ids.begin() + static_cast<int64_t>(begin),
                                      ids.begin() + static_cast<int64_t>(begin + length));
    const Tensor log_p_SV = run_rows(model, at::tensor(window, at::kLong).unsqueeze(0))
                                .logits_BSV.select(0, 0)
                                .to(at::kDouble)
                                .log_softmax(-1);
    for (size_t s = 0; s < length; ++s)
      sum -= log_p_SV[static_cast<int64_t>(s)][ids[begin + s + 1]].item<double>();
  }
  return sum;
}

TEST(Evaluate, PredictsEveryTokenButTheFirstOnce) {
  const auto model = tiny_model();
  for (const int64_t count : {2, 12, 13, 14, 25, 100, 500}) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < count; ++i) ids.push_back(i * i % 11);
    const auto found = evaluate(*model, data::Tokens(std::vector<int32_t>(ids.begin(), ids.end())));
    EXPECT_EQ(found.tokens, count - 1);
    EXPECT_NEAR(found.loss(), naive_loss_sum(*model, ids) / static_cast<double>(count - 1), 1e-5);
  }
}

TEST(Evaluate, PaddingReachesNoRouterThatComparesTokens) {
  auto options = moe::test::tiny_options();
  options.uniform.moe.router.kind = "expert_choice";
  options.uniform.moe.router.options.set("allow_future", true);
  const auto model = tiny_model(options);
  // One full window, and a second one of which 7 positions are padding.
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 18; ++i) ids.push_back(i * 7 % 11);
  const auto found = evaluate(*model, data::Tokens(std::vector<int32_t>(ids.begin(), ids.end())));
  EXPECT_NEAR(found.loss_sum, naive_loss_sum(*model, ids), 1e-4);
}

TEST(Evaluate, CountsMarkedTargetsOnly) {
  const auto model = tiny_model();
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5};
  const auto all = evaluate(*model, data::Tokens(ids));
  const auto first = evaluate(*model, data::Tokens(ids, {0, 1, 1, 0, 0}));
  const auto second = evaluate(*model, data::Tokens(ids, {0, 0, 0, 1, 1}));
  EXPECT_EQ(first.tokens, 2);
  EXPECT_NEAR(first.loss_sum + second.loss_sum, all.loss_sum, 1e-5);
}

TEST(Evaluate, MeasuresOfATextFileFitTogether) {
  const TemporaryFolder folder;
  const std::string text = "Elma ağacı, elma dalı. Elma ağacı, elma dalı. Son.";
  const auto model = tiny_text_model();
  const auto found = evaluate_file(model, write(folder, text));
  EXPECT_EQ(found.tokens, static_cast<int64_t>(text.size()) - 1);
  EXPECT_EQ(found.bytes, found.tokens);
  EXPECT_NEAR(found.perplexity(), std::exp(found.loss()), 1e-9);
  EXPECT_NEAR(found.bits_per_byte(), found.loss() / std::log(2.0), 1e-9);
}

TEST(Evaluate, AddsUpFiles) {
  TextLoss sum{.loss_sum = 2, .tokens = 1, .bytes = 3};
  sum += {.loss_sum = 4, .tokens = 3, .bytes = 5};
  EXPECT_DOUBLE_EQ(sum.loss(), 1.5);
  EXPECT_EQ(sum.bytes, 8);
}

TEST(Evaluate, ReadsPromptsAndCompletions) {
  const TemporaryFolder folder;
  const auto path = write(folder, R"({"prompt": "2+2=", "completion": "4"})"
                                  "\n");
  const auto found = evaluate_file(tiny_text_model(), path, "jsonl_prompt_completion");
  EXPECT_EQ(found.tokens, 3);  // "4" and the two newlines that end a document
  EXPECT_EQ(found.bytes, 3);
}

TEST(Evaluate, RefusesFilesWithNothingToPredict) {
  const TemporaryFolder folder;
  const auto model = tiny_text_model();
  EXPECT_ERROR(evaluate_file(model, folder / "none"), (folder / "none").string());
  EXPECT_ERROR(evaluate_file(model, write(folder, "")), "got an empty file");
  EXPECT_ERROR(evaluate_file(model, write(folder, "a")), "expected at least 2 tokens in '");
  EXPECT_THROW(evaluate_file(model, write(folder, "abc"), "parquet"), ConfigError);
}

}  // namespace
}  // namespace moe::objectives
