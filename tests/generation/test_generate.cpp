// B batch, S sequence, V vocabulary.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/utf8.h>
#include <moe/generation/continuation.h>
#include <moe/generation/generate.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_model.h"

namespace moe::generation {
namespace {

using moe::test::tiny_model;
using moe::test::tiny_options;
using moe::test::tiny_text_model;

/// Writes down a given text: behind its first n bytes the next one is certain, whatever came in.
class ScriptedModel final : public models::LanguageModel {
 public:
  explicit ScriptedModel(std::string script) : script_(std::move(script)) {
    options_.vocabulary = 256;
    options_.context_length = static_cast<int64_t>(script_.size());
  }

  models::ModelOutput forward(const Tensor& ids_BS,
                              const models::ForwardContext& context) override {
    auto& length = context.state->layers.front().length;
    length += ids_BS.size(1);
    models::ModelOutput out;
    out.logits_BSV = at::full({1, ids_BS.size(1), 256}, -100.0);
    const auto next = static_cast<unsigned char>(script_.at(static_cast<size_t>(length)));
    out.logits_BSV.select(1, -1).select(1, next).fill_(100.0);
    return out;
  }
  void end_step(const std::vector<StepStatistics>&) override {}
  models::DecoderState new_state(int64_t, int64_t, at::ScalarType) const override {
    models::DecoderState state;
    state.layers.emplace_back();
    return state;
  }
  const models::ModelOptions& options() const override { return options_; }

 private:
  std::string script_;
  models::ModelOptions options_;
};

/// A model that answers the prompt ">" with `text`.
models::LoadedModel scripted(const std::string& text) {
  models::LoadedModel out;
  out.model = std::make_shared<ScriptedModel>(">" + text);
  out.tokenizer = data::make_tokenizer("byte");
  return out;
}

/// Greedy tokens without a cache: the whole text is read again for each.
std::vector<int64_t> greedy_without_cache(models::LanguageModel& model, std::vector<int64_t> ids,
                                          int64_t count) {
  const at::NoGradGuard no_grad;
  const size_t prompt = ids.size();
  for (int64_t i = 0; i < count; ++i) {
    const Tensor ids_BS = at::tensor(ids, at::kLong).unsqueeze(0);
    const Tensor logits_V = model.forward(ids_BS, {}).logits_BSV.select(0, 0).select(0, -1);
    ids.push_back(logits_V.argmax().item<int64_t>());
  }
  return {ids.begin() + static_cast<int64_t>(prompt), ids.end()};
}

std::vector<int64_t> draw(Continuation& continuation) {
  std::vector<int64_t> out;
  while (const auto token = continuation.next()) out.push_back(*token);
  return out;
}

TEST(Continuation, WithTheCacheIsAsWithout) {
  const auto model = tiny_model();
  for (const std::vector<int64_t>& prompt :
       {std::vector<int64_t>{3}, std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7}}) {
    const auto room = model->options().context_length - static_cast<int64_t>(prompt.size());
    Continuation continuation(model, prompt, {.sampling = {.temperature = 0}});
    EXPECT_EQ(draw(continuation), greedy_without_cache(*model, prompt, room));
  }
}

TEST(Continuation, EndsWhenTheContextIsFull) {
  const auto model = tiny_model();
  Continuation continuation(model, {1, 2}, {});
  EXPECT_EQ(draw(continuation).size(), 10u);
  EXPECT_EQ(continuation.tokens().size(), 12u);
  EXPECT_FALSE(continuation.next().has_value());
  Continuation full(model, std::vector<int64_t>(12, 1), {});
  EXPECT_FALSE(full.next().has_value());
}

TEST(Continuation, TwoOverOneModelDoNotDisturbEachOther) {
  const auto model = tiny_model();
  Continuation alone(model, {1, 2}, {.sampling = {.seed = 1}});
  const auto expected = draw(alone);
  Continuation a(model, {1, 2}, {.sampling = {.seed = 1}});
  Continuation b(model, {7, 8, 9}, {.sampling = {.seed = 2}});
  std::vector<int64_t> found;
  while (const auto token = a.next()) {
    found.push_back(*token);
    b.next();
  }
  EXPECT_EQ(found, expected);
}

TEST(Continuation, DrawsBelowTheVocabularyOnly) {
  Continuation continuation(tiny_model(), {1}, {.sampling = {.temperature = 50}, .vocabulary = 4});
  for (const int64_t token : draw(continuation)) EXPECT_LT(token, 4);
}

TEST(Continuation, RecordsNoGradients) {
  const auto model = tiny_model();
  ASSERT_TRUE(model->parameters().front().requires_grad());
  Continuation continuation(model, {1}, {});
  continuation.next();
  EXPECT_TRUE(at::GradMode::is_enabled());
  const auto out = model->forward(at::zeros({1, 2}, at::kLong), {});
  EXPECT_TRUE(out.logits_BSV.requires_grad());
}

TEST(Continuation, RefusesPromptsItCannotContinue) {
  const auto model = tiny_model();
  EXPECT_ERROR(Continuation(model, {}, {}), "at least one token");
  EXPECT_ERROR(Continuation(model, std::vector<int64_t>(13, 1), {}),
               "at most context_length=12 tokens, got 13");
  Continuation foreign(model, {11}, {});
  EXPECT_ERROR(foreign.next(), "token ids in [0, vocabulary=11), got 11");
}

TEST(Continuation, RefusesModelsThatLookAhead) {
  auto options = tiny_options();
  options.causal = false;
  EXPECT_ERROR(Continuation(tiny_model(options), {1}, {}), "expected a causal model");
}

TEST(Generate, ReadsAsTheDesignSays) {
  const auto model = tiny_text_model();
  const auto out =
      moe::generate(model, "To be or", {.max_tokens = 20, .temperature = 0.8, .seed = 1});
  EXPECT_EQ(out.tokens.size(), 20u);
  EXPECT_EQ(out.prompt_tokens, 8);
  EXPECT_EQ(out.finish_reason, "length");
  EXPECT_GT(out.tokens_per_second, 0);
}

TEST(Generate, SameSeedSameText) {
  const auto model = tiny_text_model();
  const auto text = [&](int64_t seed) {
    return generate(model, "abc", {.max_tokens = 30, .seed = seed}).tokens;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(Generate, StreamsTheTextOfTheResult) {
  const auto model = tiny_text_model();
  std::string streamed;
  const auto out = generate(model, "abc", {.max_tokens = 40, .seed = 3},
                            [&](std::string_view piece) { streamed += piece; });
  EXPECT_EQ(streamed, out.text);
}

TEST(Generate, StreamsWholeCharactersOnly) {
  const std::string text = "aş€🙂İz";
  std::vector<std::string> pieces;
  const auto out = generate(scripted(text), ">", {.temperature = 0},
                            [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "ş", "€", "🙂", "İ", "z"}));
  EXPECT_EQ(out.text, text);
}

TEST(Generate, EndsInsideACharacterWithAReplacement) {
  const auto out = generate(scripted("a🙂"), ">", {.max_tokens = 3, .temperature = 0});
  EXPECT_EQ(out.text, "a\xEF\xBF\xBD");
}

TEST(Generate, StopsBeforeAStopStringThatStraddlesTokens) {
  std::string streamed;
  const auto out =
      generate(scripted("one\n\ntwo"), ">", {.temperature = 0, .stop = {"zzz", "\n\n"}},
               [&](std::string_view piece) { streamed += piece; });
  EXPECT_EQ(out.text, "one");
  EXPECT_EQ(streamed, "one");
  EXPECT_EQ(out.finish_reason, "stop");
  EXPECT_EQ(out.tokens.size(), 5u);
}

TEST(Generate, GivesBackThePrefixOfAStopStringThatNeverCame) {
  const auto out = generate(scripted("one STO"), ">", {.temperature = 0, .stop = {"STOP"}});
  EXPECT_EQ(out.text, "one STO");
  EXPECT_EQ(out.finish_reason, "length");
}

TEST(Generate, StopsAtCharactersOfSeveralBytes) {
  // The first two bytes of the stop string are those of another character, too.
  const auto out = generate(scripted("5 ₺ 7 € 9"), ">", {.temperature = 0, .stop = {"€"}});
  EXPECT_EQ(out.text, "5 ₺ 7 ");
  EXPECT_EQ(out.finish_reason, "stop");
}

TEST(Generate, StopsAtTheFirstTokenWithAnEmptyText) {
  const auto out = generate(scripted("END"), ">", {.temperature = 0, .stop = {"E"}});
  EXPECT_EQ(out.text, "");
  EXPECT_EQ(out.finish_reason, "stop");
}

TEST(Generate, StopsAtTheEndOfTextToken) {
  const auto tokenizer = std::make_shared<data::BpeTokenizer>(
      moe::test::tiny_bpe("no pair twice", 257, {"<|endoftext|>"}), "t");
  ASSERT_EQ(tokenizer->end_of_text(), 0);
  const auto ids = tokenizer->encode("ab<|endoftext|>cd");
  auto model = scripted(std::string(ids.begin(), ids.end()));
  model.tokenizer = tokenizer;
  std::string streamed;
  const auto out = generate(model, ">", {.temperature = 0}, [&](auto part) { streamed += part; });
  EXPECT_EQ(out.tokens, (std::vector<int64_t>{ids[0], ids[1], 0}));
  EXPECT_EQ(out.text, "ab");
  EXPECT_EQ(streamed, out.text);
  EXPECT_EQ(out.finish_reason, "stop");

  const auto on = generate(model, ">", {.temperature = 0, .ignore_end_of_text = true});
  EXPECT_EQ(on.tokens, ids);
  EXPECT_EQ(on.finish_reason, "length");
}

TEST(Generate, ReachingTheContextEndsWithLength) {
  const auto out = generate(tiny_text_model(16), "twelve bytes", {.max_tokens = 100});
  EXPECT_EQ(out.tokens.size(), 4u);
  EXPECT_EQ(out.finish_reason, "length");
}

TEST(Generate, AnEmptyPromptStandsForANewline) {
  const auto model = tiny_text_model();
  const GenerateOptions options{.max_tokens = 8, .seed = 4};
  EXPECT_EQ(generate(model, "", options).tokens, generate(model, "\n", options).tokens);
}

TEST(Generate, RefusesPromptsLongerThanTheContext) {
  EXPECT_ERROR(generate(tiny_text_model(16), "seventeen bytes, ", {}),
               "at most context_length=16 tokens, got 17");
}

TEST(Generate, RefusesOptionsOutOfRange) {
  const auto model = tiny_text_model();
  EXPECT_THROW(generate(model, "a", {.max_tokens = 0}), ConfigError);
  EXPECT_THROW(generate(model, "a", {.temperature = -1}), ConfigError);
  EXPECT_THROW(generate(model, "a", {.stop = {""}}), ConfigError);
}

TEST(Generate, RefusesAModelWithoutTokenizer) {
  auto model = tiny_text_model();
  model.tokenizer = nullptr;
  EXPECT_ERROR(generate(model, "a"), "expected a model with a tokenizer");
}

}  // namespace
}  // namespace moe::generation
