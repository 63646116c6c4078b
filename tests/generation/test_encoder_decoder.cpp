// Encoder-decoders that write: the prompt goes to the encoder, once. V vocabulary.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <gtest/gtest.h>

#include <moe/generation/generate.h>
#include <moe/generation/running_batch.h>
#include <moe/models/family.h>

#include "tests/models/tiny_encoder_decoder.h"
#include "tests/support/message_of.h"
#include "tests/support/modules.h"

namespace moe::generation::encoder_decoder_test {
namespace {

using moe::test::pair_model::Ids;
using moe::test::pair_model::options;

std::shared_ptr<models::Model> make(bool t5, int64_t capacity = 0) {
  auto out = models::make_model(models::ModelSpec(options(t5, capacity)), 3);
  moe::test::randomise(*out, 4, 0.5);
  out->to(at::kFloat);
  return out;
}

/// The whole of both texts is read again for each token.
Ids greedy_answer_without_state(models::Model& model, const Ids& prompt, int64_t count) {
  const at::NoGradGuard no_grad;
  Ids written = {model.traits().decoder_start};
  for (int64_t i = 0; i < count; ++i) {
    const Tensor hidden_TD =
        model.forward(moe::test::pair_model::inputs_of({{prompt, written}}), {}).hidden_TD;
    written.push_back(
        model.head(hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1)).argmax().item<int64_t>());
  }
  return {written.begin() + 1, written.end()};
}

TEST(EncoderDecoderBatch, WithTheStateIsAsWithout) {
  const std::vector<Ids> prompts = {{3, 7, 4, 9, 12}, {10}, {5, 5, 6, 1, 0, 2, 8, 11, 4}};
  for (const auto& model : {make(true), make(true, 2), make(false)}) {
    RunningBatch batch(model, 12);
    std::vector<Ids> together(prompts.size());
    const SequenceOptions greedy = {.sampling = {.temperature = 0}, .max_tokens = 8};
    batch.add(prompts[0], greedy);
    batch.add(prompts[1], greedy);
    for (int64_t step = 0; batch.size() > 0; ++step) {
      if (step == 3) batch.add(prompts[2], greedy);  // joins while others write
      for (const DrawnToken& drawn : batch.step())
        together[static_cast<size_t>(drawn.sequence)].push_back(drawn.token);
    }
    for (size_t n = 0; n < prompts.size(); ++n)
      EXPECT_EQ(together[n], greedy_answer_without_state(*model, prompts[n], 8)) << n;
  }
}

TEST(EncoderDecoderBatch, ThePromptTakesNoRoomOfTheText) {
  const auto model = make(true);
  RunningBatch batch(model, 6);
  const int64_t number = batch.add({3, 7, 4, 9, 12, 5}, {.sampling = {.temperature = 0}});
  EXPECT_EQ(batch.tokens(number), (Ids{2}));
  int64_t drawn = 0;
  while (batch.size() > 0) drawn += static_cast<int64_t>(batch.step().size());
  EXPECT_EQ(drawn, 5);  // and the start
  EXPECT_ERROR(batch.add({1, 2, 3, 4, 5, 6, 7}), "capacity=6 tokens, got 7");
}

TEST(EncoderDecoderBatch, RoomThatDependsOnTheCallIsRefusedWithTheReason) {
  // As NLLB-MoE with moe_eval_capacity_token_fraction below 1.
  auto limited = options(/*t5=*/false);
  for (auto* blocks : {&limited.encoder, &limited.decoder})
    for (auto& block : *blocks) {
      if (block.feed_forward.kind != "moe") continue;
      auto mixture = models::kind_options<layers::MoELayerOptions>(block.feed_forward);
      mixture.capacity = {.eval_fraction = 0.5, .whole_call = true, .allow_future = true};
      block.feed_forward = mixture;
    }
  const auto model = models::make_model(models::ModelSpec(limited), 3);
  const auto message = moe::test::message_of([&] { RunningBatch(model, 6); });
  for (const char* part : {"got capacity.whole_call = true", "depends on the texts beside it",
                           "(of NLLB-MoE moe_eval_capacity_token_fraction = 1.0 in config.json)."})
    EXPECT_PRED2(moe::test::contains, message, part);
}

/// A letter a token; 12 ends a whole text.
class Letters final : public data::Tokenizer {
 public:
  std::string name() const override { return "letters"; }
  int64_t vocabulary() const override { return 13; }
  Ids encode(std::string_view text) const override {
    Ids out;
    for (const char letter : text) out.push_back((letter - 'a' + 26) % 12);
    return out;
  }
  Ids encode_framed(std::string_view text) const override {
    Ids out = encode(text);
    out.push_back(12);
    return out;
  }
  std::string decode(std::span<const int64_t> tokens) const override {
    std::string out;
    for (const int64_t token : tokens) out += static_cast<char>('a' + token);
    return out;
  }
  std::shared_ptr<const Tokenizer> without_special() const override {
    return std::make_shared<Letters>();
  }
};

TEST(EncoderDecoderBatch, TheEncoderReadsAWholeText) {
  models::LoadedModel loaded;
  loaded.model = make(true);
  loaded.tokenizer = std::make_shared<Letters>();
  const auto result = generate(loaded, "dhej", {.max_tokens = 6, .temperature = 0});
  EXPECT_EQ(result.tokens, greedy_answer_without_state(*loaded.model, {3, 7, 4, 9, 12}, 6));
  EXPECT_EQ(result.prompt_tokens, 5);
}

}  // namespace
}  // namespace moe::generation::encoder_decoder_test
