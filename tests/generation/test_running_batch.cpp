// M rows of hidden states, V vocabulary.
#include <map>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/generation/running_batch.h>
#include <moe/generation/switch_length.h>
#include <moe/layers/mixers/attention.h>
#include <moe/models/family.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_model.h"

namespace moe::generation {
namespace {

using moe::test::tiny_model;
using moe::test::tiny_options;

/// The tokens drawn of one sequence alone.
std::vector<int64_t> draw(const std::shared_ptr<models::Model>& model, std::vector<int64_t> prompt,
                          const SequenceOptions& options, int64_t capacity = 0) {
  RunningBatch batch(model, capacity);
  batch.add(std::move(prompt), options);
  std::vector<int64_t> out;
  while (batch.size() > 0) out.push_back(batch.step().front().token);
  return out;
}

/// Greedy tokens without a state: the whole text is read again for each.
std::vector<int64_t> greedy_without_state(models::Model& model, std::vector<int64_t> ids,
                                          int64_t count) {
  const at::NoGradGuard no_grad;
  const auto prompt = static_cast<int64_t>(ids.size());
  for (int64_t i = 0; i < count; ++i) {
    ModelInputs inputs;
    inputs.tokens.ids_T = at::tensor(ids, at::kLong);
    const Tensor hidden_TD = model.forward(inputs, {}).hidden_TD;
    ids.push_back(
        model.head(hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1)).argmax().item<int64_t>());
  }
  return {ids.begin() + prompt, ids.end()};
}

TEST(RunningBatch, WithTheStateIsAsWithout) {
  const auto model = tiny_model();
  for (const std::vector<int64_t>& prompt :
       {std::vector<int64_t>{3}, std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7}}) {
    const auto room = model->traits().context_length - static_cast<int64_t>(prompt.size());
    EXPECT_EQ(draw(model, prompt, {.sampling = {.temperature = 0}}),
              greedy_without_state(*model, prompt, room));
  }
}

/// Longrope of two lists of factors, the second beyond 6 tokens.
models::DecoderOptions switching_options() {
  auto options = tiny_options();
  options.blocks = options.block_specs();
  for (auto& block : options.blocks) {
    auto attention = models::kind_options<Attention>(block.mixer);
    const auto width = static_cast<size_t>(
        attention.head_dim > 0 ? attention.head_dim : options.d_model / attention.heads);
    attention.rope.scaling = "longrope";
    attention.rope.original_length = 6;
    attention.rope.short_factors.assign(width / 2, 1.0);
    attention.rope.long_factors.assign(width / 2, 3.0);
    attention.rope.long_mscale = 4;
    block.mixer = attention;
  }
  const auto epsilon = options.uniform.norm_epsilon;
  options.uniform = {};
  options.uniform.norm_epsilon = epsilon;
  return options;
}

TEST(RunningBatch, ReadsAgainWhatGrowsBeyondTheSwitchOfLongrope) {
  const auto options = switching_options();
  EXPECT_EQ(switch_length(tiny_options()), 0);
  ASSERT_EQ(switch_length(options), 6);
  const std::vector<std::vector<int64_t>> prompts = {
      {3}, {1, 2, 3, 4, 5, 6}, {6, 5, 4, 3, 2, 1, 2, 3}, {1, 2, 3, 4}};
  int different = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto model = tiny_model(options, seed);
    RunningBatch batch(model, 0, switch_length(options));
    std::map<int64_t, size_t> of;
    for (size_t i = 0; i < prompts.size(); ++i)
      of[batch.add(prompts[i], {.sampling = {.temperature = 0}, .max_tokens = 9})] = i;
    std::vector<std::vector<int64_t>> drawn(prompts.size());
    while (batch.size() > 0)
      for (const auto& one : batch.step()) drawn[of.at(one.sequence)].push_back(one.token);
    for (size_t i = 0; i < prompts.size(); ++i)
      EXPECT_EQ(drawn[i],
                greedy_without_state(*model, prompts[i], static_cast<int64_t>(drawn[i].size())))
          << "seed " << seed << ", prompt " << i;
    // What is remembered of the first list may give other tokens beyond it.
    different +=
        draw(model, prompts[3], {.sampling = {.temperature = 0}, .max_tokens = 9}) != drawn[3];
  }
  EXPECT_GT(different, 0);
}

TEST(RunningBatch, WithCapacityInEvaluationIsAsWithout) {
  auto options = tiny_options();
  options.uniform.moe.every = 1;
  for (const std::string overflow : {"drop", "next_best"})
    for (const layers::CapacityOptions& capacity :
         {layers::CapacityOptions{
              .factor = 1, .eval_factor = 0.5, .order = "token", .overflow = overflow},
          layers::CapacityOptions{.limit = 3, .order = "token", .overflow = overflow}}) {
      options.uniform.moe.capacity = capacity;
      const auto model = tiny_model(options);
      const std::vector<std::vector<int64_t>> prompts = {{3}, {1, 2, 3, 4, 5, 6, 7}, {0, 9}};
      RunningBatch batch(model);
      std::vector<std::vector<int64_t>> together(prompts.size());
      for (const auto& prompt : prompts) batch.add(prompt, {.sampling = {.temperature = 0}});
      while (batch.size() > 0)
        for (const DrawnToken& drawn : batch.step())
          together[static_cast<size_t>(drawn.sequence)].push_back(drawn.token);
      for (size_t i = 0; i < prompts.size(); ++i) {
        const auto room = options.context_length - static_cast<int64_t>(prompts[i].size());
        EXPECT_EQ(together[i], greedy_without_state(*model, prompts[i], room));
        EXPECT_EQ(draw(model, prompts[i], {.sampling = {.temperature = 0}}), together[i]);
      }
    }
}

TEST(RunningBatch, RefusesLayersThatWantWholeTexts) {
  auto options = tiny_options();
  options.uniform.moe.capacity = {.eval_factor = 1, .order = "choice", .allow_future = true};
  EXPECT_ERROR(RunningBatch(tiny_model(options)), "got capacity.order = \"choice\"");
  options.uniform.moe.capacity = {.eval_factor = 1, .group_tokens = 4, .order = "token"};
  EXPECT_ERROR(RunningBatch(tiny_model(options)), "got capacity.group_tokens = 4");
  options = tiny_options();
  options.uniform.moe.router.kind = "expert_choice";
  options.uniform.moe.router.options.set("allow_future", true);
  EXPECT_ERROR(RunningBatch(tiny_model(options)), "got router.kind = \"expert_choice\"");
}

TEST(RunningBatch, SequencesThatJoinAndLeaveGetWhatTheyGetAlone) {
  auto options = tiny_options();
  options.context_length = 40;
  const auto model = tiny_model(options);
  const std::vector<std::vector<int64_t>> prompts = {
      {1, 2},
      {7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7},
      {4},
      {1, 2},
      {0, 0, 0, 0, 0, 0}};
  const auto how = [](int64_t i) {
    return SequenceOptions{
        .sampling = {.temperature = 0.7 + 0.2 * static_cast<double>(i), .seed = 20 + i},
        .max_tokens = 9 + 7 * i};
  };
  RunningBatch batch(model);
  std::map<int64_t, std::vector<int64_t>> found;
  std::map<int64_t, size_t> prompt_of;
  size_t joined = 0;
  for (int step = 0; joined < prompts.size() || batch.size() > 0; ++step) {
    if (joined < prompts.size() && step % 3 == 0) {
      prompt_of[batch.add(prompts[joined], how(static_cast<int64_t>(joined)))] = joined;
      ++joined;
    }
    for (const DrawnToken& drawn : batch.step()) {
      found[drawn.sequence].push_back(drawn.token);
      EXPECT_EQ(batch.runs(drawn.sequence), !drawn.last);
      if (!drawn.last) {
        EXPECT_EQ(batch.tokens(drawn.sequence).back(), drawn.token);
      }
    }
  }
  ASSERT_EQ(found.size(), prompts.size());
  for (const auto& [number, tokens] : found) {
    const size_t i = prompt_of.at(number);
    EXPECT_EQ(tokens, draw(model, prompts[i], how(static_cast<int64_t>(i)))) << i;
  }
}

TEST(RunningBatch, RemovingOneLeavesTheOthersAsTheyWere) {
  const auto model = tiny_model();
  RunningBatch batch(model);
  const int64_t a = batch.add({1, 2}, {.sampling = {.seed = 1}});
  const int64_t b = batch.add({7, 8, 9}, {.sampling = {.seed = 2}});
  const int64_t c = batch.add({5}, {.sampling = {.seed = 3}});
  batch.step();
  batch.remove(b);
  EXPECT_FALSE(batch.runs(b));
  EXPECT_ERROR(batch.tokens(b), "expected a running sequence, got number 1");
  EXPECT_ERROR(batch.remove(b), "expected a running sequence");
  while (batch.tokens(a).size() < 11) batch.step();
  const auto alone = draw(model, {1, 2}, {.sampling = {.seed = 1}});
  EXPECT_EQ(std::vector<int64_t>(batch.tokens(a).begin() + 2, batch.tokens(a).end()),
            std::vector<int64_t>(alone.begin(), alone.begin() + 9));
  EXPECT_EQ(batch.tokens(c).size(), 10u);
}

TEST(RunningBatch, SequencesEndWhenTheirRoomIsFull) {
  const auto model = tiny_model();
  EXPECT_EQ(draw(model, {1, 2}, {}).size(), 10u);
  EXPECT_EQ(draw(model, {1, 2}, {.max_tokens = 4}).size(), 4u);
  EXPECT_EQ(draw(model, {1, 2}, {}, 5).size(), 3u);
  EXPECT_EQ(draw(model, {1, 2}, {}, 500).size(), 10u);
  RunningBatch batch(model);
  EXPECT_FALSE(batch.runs(batch.add(std::vector<int64_t>(12, 1))));
  EXPECT_FALSE(batch.runs(batch.add({1}, {.max_tokens = 0})));
  EXPECT_TRUE(batch.step().empty());
  EXPECT_EQ(batch.bytes(), 0);
}

TEST(RunningBatch, DrawsBelowTheVocabularyOnly) {
  for (const int64_t token :
       draw(tiny_model(), {1}, {.sampling = {.temperature = 50}, .vocabulary = 4}))
    EXPECT_LT(token, 4);
}

TEST(RunningBatch, RecordsNoGradients) {
  const auto model = tiny_model();
  ASSERT_TRUE(model->parameters().front().requires_grad());
  RunningBatch batch(model);
  batch.add({1});
  batch.step();
  EXPECT_TRUE(at::GradMode::is_enabled());
  ModelInputs inputs;
  inputs.tokens.ids_T = at::tensor({0, 1}, at::kLong);
  EXPECT_TRUE(model->forward(inputs, {}).hidden_TD.requires_grad());
}

TEST(RunningBatch, RefusesPromptsItCannotContinue) {
  RunningBatch batch(tiny_model());
  EXPECT_ERROR(batch.add({}), "at least one token");
  EXPECT_ERROR(batch.add(std::vector<int64_t>(13, 1)), "at most context_length=12 tokens, got 13");
  EXPECT_ERROR(batch.add({1, 11}), "token ids in [0, vocabulary=11), got 11");
  EXPECT_ERROR(batch.add({-1}), "got -1");
  EXPECT_ERROR(batch.add({1}, {.sampling = {.top_p = 0}}), "top_p");
  EXPECT_ERROR(batch.add({1}, {.max_tokens = -1}), "max_tokens >= 0");
  EXPECT_EQ(batch.size(), 0);
  RunningBatch smaller(tiny_model(), 5);
  EXPECT_ERROR(smaller.add(std::vector<int64_t>(6, 1)), "at most capacity=5 tokens, got 6");
}

TEST(RunningBatch, RefusesModelsThatLookAhead) {
  auto options = tiny_options();
  options.causal = false;
  EXPECT_ERROR(RunningBatch{tiny_model(options)}, "expected a causal model");
}

}  // namespace
}  // namespace moe::generation
