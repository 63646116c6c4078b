// Sequences that join and leave a running batch of a whole model. T tokens, V vocabulary.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/models/generation_state.h>
#include <moe/ops/attend_rows.h>

#include "tests/support/compare.h"
#include "tests/support/message_of.h"
#include "tests/support/tiny_model.h"

namespace moe::models::generation_state_test {
namespace {

using at::Tensor;
using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::tiny_model;
using moe::test::tiny_options;

/// Notes what it is told.
struct NotingState final : layers::LayerState {
  int64_t* slots;
  explicit NotingState(int64_t* counted) : slots(counted) {}
  void join(int64_t count) override { *slots += count; }
  void keep(const std::vector<int64_t>& kept) override {
    *slots = static_cast<int64_t>(kept.size());
  }
  int64_t bytes() const override { return 100 * *slots; }
};

TEST(GenerationState, CountsWhatEachSlotHasSeen) {
  int64_t slots = 0, others = 0;
  std::vector<layers::BlockState> blocks(2);
  blocks[0].mixer = std::make_unique<NotingState>(&slots);
  blocks[1].feed_forward = std::make_unique<NotingState>(&others);
  GenerationState state(std::move(blocks), 8);
  state.join(2);
  state.join();
  EXPECT_EQ(slots, 3);
  EXPECT_EQ(others, 3);
  EXPECT_EQ(state.bytes(), 600);
  Sequences sequences = state.sequences({2, 0, 5});
  EXPECT_EQ(sequences.count(), 3);
  EXPECT_EQ(sequences.tokens(), 7);
  state.advance(sequences);
  sequences = state.sequences({1, 1, 1});
  EXPECT_EQ(sequences.first_position, (std::vector<int64_t>{2, 0, 5}));
  EXPECT_TRUE(sequences.position_T(at::kCPU).equal(at::tensor({2, 0, 5}, at::kLong)));
  state.advance(sequences);
  state.keep({2, 0});
  EXPECT_EQ(state.lengths(), (std::vector<int64_t>{6, 3}));
  state.leave(0);
  EXPECT_EQ(state.lengths(), (std::vector<int64_t>{3}));
  EXPECT_EQ(others, 1);
  EXPECT_EQ(state.size(), 1);
}

TEST(GenerationState, RefusesWhatDoesNotFit) {
  GenerationState state({}, 8);
  state.join(2);
  EXPECT_ERROR(state.sequences({1}), "each of 2 slots, got 1 numbers");
  EXPECT_ERROR(state.sequences({1, 9}),
               "at most 8 positions of one sequence, got 0 and 9 new ones");
  EXPECT_ERROR(state.sequences({1, -1}), "got 0 and -1");
  EXPECT_ERROR(state.keep({2}), "each slot once and below 2, got 2");
  EXPECT_ERROR(state.keep({0, 0}), "each slot once");
  EXPECT_ERROR(state.leave(-1), "a slot below 2, got -1");
  EXPECT_ERROR(state.advance(Sequences::equal(3, 1)), "each of 2 slots, got 3");
  EXPECT_ERROR(state.join(-1), "at least 0");
}

/// Hidden states of `ids` new tokens of each slot.
Tensor read(Model& model, GenerationState& state, const std::vector<std::vector<int64_t>>& fresh) {
  std::vector<int64_t> ids, counts;
  for (const auto& of_slot : fresh) {
    ids.insert(ids.end(), of_slot.begin(), of_slot.end());
    counts.push_back(static_cast<int64_t>(of_slot.size()));
  }
  ModelInputs inputs;
  inputs.tokens.sequences = state.sequences(counts);
  inputs.tokens.ids_T = at::tensor(ids, at::kLong);
  ForwardContext context;
  context.state = &state;
  return model.head(model.forward(inputs, context).hidden_TD);
}

DecoderOptions longer(bool window) {
  DecoderOptions options = tiny_options();
  options.context_length = 60;
  if (window) {
    options.blocks = options.block_specs();
    for (auto& block : options.blocks) block.mixer.options.set("window", int64_t{4});
    options.uniform = {};  // nothing reads it beside blocks
  }
  return options;
}

std::vector<int64_t> some_ids(int64_t count, int64_t seed) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back((i * i + 7 * i + 3 * seed) % 11);
  return out;
}

std::vector<int64_t> part(const std::vector<int64_t>& ids, int64_t begin, int64_t end) {
  return {ids.begin() + begin, ids.begin() + end};
}

TEST(GenerationState, SequencesOfABatchGetTheBitsTheyGetAlone) {
  if (!ops::can_attend_rows(at::empty({1}), at::empty({1})))
    GTEST_SKIP() << "libtorch's products, which are in use, give other bits for other batches";
  const at::NoGradGuard no_grad;
  for (const bool window : {false, true}) {
    const auto model = tiny_model(longer(window));
    const auto a = some_ids(60, 1), b = some_ids(60, 2), c = some_ids(60, 3);
    const auto alone = [&](const std::vector<int64_t>& ids, const std::vector<int64_t>& cuts) {
      GenerationState state = model->new_state(60, at::kFloat);
      state.join();
      std::vector<Tensor> parts;
      for (size_t i = 0; i + 1 < cuts.size(); ++i)
        parts.push_back(read(*model, state, {part(ids, cuts[i], cuts[i + 1])}));
      return at::cat(parts);
    };
    GenerationState state = model->new_state(60, at::kFloat);
    state.join(2);
    const Tensor first = read(*model, state, {part(a, 0, 30), part(b, 0, 3)});
    state.join();
    const Tensor second = read(*model, state, {part(a, 30, 31), part(b, 3, 4), part(c, 0, 22)});
    const Tensor third = read(*model, state, {{}, part(b, 4, 6), part(c, 22, 23)});
    state.keep({2, 0});
    const Tensor fourth = read(*model, state, {part(c, 23, 24), part(a, 31, 32)});
    EXPECT_EQ(state.lengths(), (std::vector<int64_t>{24, 32}));

    expect_identical(at::cat({first.slice(0, 0, 30), second.slice(0, 0, 1), fourth.slice(0, 1, 2)}),
                     alone(a, {0, 30, 31, 32}), "a");
    expect_identical(at::cat({first.slice(0, 30), second.slice(0, 1, 2), third.slice(0, 0, 2)}),
                     alone(b, {0, 3, 4, 6}), "b");
    expect_identical(at::cat({second.slice(0, 2), third.slice(0, 2), fourth.slice(0, 0, 1)}),
                     alone(c, {0, 22, 23, 24}), "c");
    // And what a call without a state gives.
    ModelInputs inputs;
    inputs.tokens.ids_T = at::tensor(part(c, 0, 24), at::kLong);
    expect_close(alone(c, {0, 22, 23, 24}), model->head(model->forward(inputs, {}).hidden_TD),
                 1e-4);
  }
}

}  // namespace
}  // namespace moe::models::generation_state_test
