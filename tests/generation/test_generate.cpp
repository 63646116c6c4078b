// M rows of hidden states, V vocabulary.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/utf8.h>
#include <moe/generation/generate.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_model.h"

namespace moe::generation {
namespace {

using moe::test::tiny_text_model;

/// Writes down a given text: behind its first n bytes the next one is certain, whatever came in.
/// Its hidden state of a token is the token's position.
class ScriptedModel final : public models::Model {
 public:
  explicit ScriptedModel(std::string script) : script_(std::move(script)) {}

  models::ModelOutput forward(const ModelInputs& inputs,
                              const models::ForwardContext& context) override {
    models::ModelOutput out;
    out.hidden_TD = inputs.tokens.sequences.position_T(at::kCPU).unsqueeze(1).to(at::kFloat);
    context.state->advance(inputs.tokens.sequences);
    return out;
  }
  Tensor head(const Tensor& hidden_MD, at::ScalarType) override {
    Tensor logits_MV = at::full({hidden_MD.size(0), 256}, -100.0);
    for (int64_t m = 0; m < hidden_MD.size(0); ++m) {
      const auto position = static_cast<size_t>(hidden_MD[m][0].item<double>());
      logits_MV[m][static_cast<unsigned char>(script_.at(position + 1))] = 100;
    }
    return logits_MV;
  }
  void end_step(const std::vector<StepStatistics>&) override {}
  models::GenerationState new_state(int64_t capacity, at::ScalarType) const override {
    return {{}, capacity};
  }
  models::ModelTraits traits() const override {
    return {.vocabulary = 256,
            .outputs = 256,
            .context_length = static_cast<int64_t>(script_.size()),
            .causal = true};
  }
  void draw(uint64_t) override {}
  std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const override { return {}; }

 private:
  std::string script_;
};

/// A model that answers the prompt ">" with `text`.
models::LoadedModel scripted(const std::string& text) {
  models::LoadedModel out;
  out.model = std::make_shared<ScriptedModel>(">" + text);
  out.tokenizer = data::make_tokenizer("byte");
  return out;
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

TEST(GenerateAll, GivesEachPromptWhatItGetsAlone) {
  const auto model = tiny_text_model();
  const std::vector<std::string> prompts = {
      "To be or", "", "a much longer prompt, of forty-eight bytes: ......", "x", "To be or"};
  for (const double temperature : {0.0, 0.9}) {
    const GenerateOptions options{
        .max_tokens = 30, .temperature = temperature, .stop = {"e"}, .seed = 3};
    const auto together = generate_all(model, prompts, options);
    ASSERT_EQ(together.size(), prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto alone = generate(model, prompts[i], options);
      EXPECT_EQ(together[i].tokens, alone.tokens) << i;
      EXPECT_EQ(together[i].text, alone.text) << i;
      EXPECT_EQ(together[i].finish_reason, alone.finish_reason) << i;
      EXPECT_EQ(together[i].prompt_tokens, alone.prompt_tokens) << i;
    }
  }
  EXPECT_TRUE(generate_all(model, {}).empty());
  EXPECT_ERROR(generate_all(model, {"a", std::string(65, 'b')}),
               "at most context_length=64 tokens, got 65");
}

TEST(Generate, RefusesAModelWithoutTokenizer) {
  auto model = tiny_text_model();
  model.tokenizer = nullptr;
  EXPECT_ERROR(generate(model, "a"), "expected a model with a tokenizer");
}

}  // namespace
}  // namespace moe::generation
