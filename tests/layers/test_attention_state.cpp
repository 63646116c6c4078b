// Attention that goes on from a state. T tokens, D width, N slots.
#include <tests/layers/attention_forms.h>
#include <tests/layers/running_mixer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <moe/layers/key_value_state.h>

namespace moe::layers::attention_state_test {

namespace {

using moe::test::attention_forms;
using moe::test::AttentionForm;
using moe::test::context_of;
using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::make_attention;
using moe::test::normal;
using moe::test::read_in_pieces;
using moe::test::RunningMixer;

constexpr int64_t D = moe::test::kAttentionWidth;

std::vector<AttentionForm> causal_forms() {
  std::vector<AttentionForm> out;
  for (const AttentionForm& form : attention_forms())
    if (form.causal) out.push_back(form);
  return out;
}

TEST(AttentionState, PiecesEqualOneCallWithoutAState) {
  const at::NoGradGuard no_grad;
  for (const AttentionForm& form : causal_forms())
    for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-5}}) {
      SCOPED_TRACE(concat(form.name, ' ', type));
      moe::test::expect_pieces_equal_one_call(make_attention(form), D, type, bound);
    }
}

TEST(AttentionState, ABatchGivesEachSequenceTheBitsItGetsAlone) {
  if (!ops::can_attend_rows(at::empty({1}), at::empty({1})))
    GTEST_SKIP() << "libtorch's products, which are in use, give other bits for other batches";
  const at::NoGradGuard no_grad;
  for (const AttentionForm& form : causal_forms())
    for (const bool bias_norms : {false, true}) {
      SCOPED_TRACE(form.name);
      AttentionForm used = form;
      if (bias_norms) used.norm = "layernorm";
      const auto attention = make_attention(used);
      attention->to(at::kFloat);
      moe::test::expect_bits_of_alone(attention, D);
    }
}

TEST(AttentionState, ThreadsChangeNoBitOfDecodedTokens) {
  const at::NoGradGuard no_grad;
  moe::test::expect_bits_on_any_threads(make_attention({"", {.heads = 6, .kv_heads = 2}}), D, 300);
}

TEST(AttentionState, AWindowBoundsItsMemory) {
  const auto bytes = [](int64_t window, int64_t capacity) {
    const auto attention = make_attention({"", {.heads = 3, .window = window}});
    auto state = attention->new_state({.capacity = capacity, .tensors = at::kFloat});
    state->join(2);
    return state->bytes();
  };
  EXPECT_EQ(bytes(0, 1000), 2 * 2 * 1000 * D * 4);
  EXPECT_EQ(bytes(8, 1000), 2 * 2 * (8 + 15) * D * 4);
  EXPECT_EQ(bytes(8, 10), 2 * 2 * 10 * D * 4);
}

TEST(AttentionState, AChunkBoundsItsMemory) {
  const auto bytes = [](int64_t chunk, int64_t capacity) {
    const auto attention = make_attention({"", {.heads = 3, .chunk = chunk, .value_dim = 2}});
    auto state = attention->new_state({.capacity = capacity, .tensors = at::kFloat});
    state->join(2);
    EXPECT_EQ(attention->state_numbers(capacity) * 2 * 4, state->bytes());
    return state->bytes();
  };
  EXPECT_EQ(bytes(0, 1000), 2 * 1000 * (D + 6) * 4);
  EXPECT_EQ(bytes(8, 1000), 2 * (8 + 15) * (D + 6) * 4);
  EXPECT_EQ(bytes(8, 10), 2 * 10 * (D + 6) * 4);
}

TEST(AttentionState, SlotsOfThoseWhoLeftAreUsedAgain) {
  const auto attention = make_attention({"", {.heads = 3}});
  auto state = attention->new_state({.capacity = 10, .tensors = at::kFloat});
  state->join(4);
  const int64_t bytes = state->bytes();
  for (int i = 0; i < 20; ++i) {
    state->keep({1, 3, 0});
    state->join(1);
  }
  EXPECT_EQ(state->bytes(), bytes);
  state->keep({});
  state->join(4);
  EXPECT_EQ(state->bytes(), bytes);
}

TEST(AttentionState, TakesBfloat16) {
  const at::NoGradGuard no_grad;
  const Tensor x_SD = normal({30, D}, 2).to(at::kFloat);
  for (const AttentionForm& form : causal_forms()) {
    SCOPED_TRACE(form.name);
    const auto attention = make_attention(form);
    attention->to(at::kFloat);
    const Tensor wide_SD = attention->forward(x_SD, {}, nullptr);
    const double scale = wide_SD.abs().max().item<double>();
    attention->to(at::kBFloat16);
    const Tensor narrow_SD =
        read_in_pieces(attention, x_SD.to(at::kBFloat16), {20, 21, 22, 27, 30}, 30);
    EXPECT_EQ(narrow_SD.scalar_type(), at::kBFloat16);
    expect_close(narrow_SD.to(at::kFloat) / scale, wide_SD / scale, 0.05);
  }
}

TEST(AttentionState, RefusesWhatDoesNotFitIt) {
  const auto attention = make_attention({"", {.heads = 3, .dropout = 0.1}});
  const Tensor x_TD = normal({2, D}, 2);
  RunningMixer running(attention, 5, at::kDouble);
  running.join(2);
  {
    const at::NoGradGuard no_grad;
    running.read(x_TD, {1, 1});
    EXPECT_ERROR(running.read(x_TD, {2}), "a sequence for each of the state's 2 slots, got 1");
    LayerContext context = context_of({1, 1});
    context.tokens.sequences.first_position = {1, 2};
    EXPECT_ERROR(attention->forward(x_TD, context, running.state.get()),
                 "sequence 1 to go on at position 1, got 2");
    context.tokens.sequences.first_position = {1, 1};
    context.training = true;
    EXPECT_ERROR(attention->forward(x_TD, context, running.state.get()), "in evaluation");
    EXPECT_ERROR(running.read(normal({5, D}, 2), {5, 0}),
                 "at most 5 positions of one sequence, got 6");
  }
  EXPECT_ERROR(running.read(x_TD, {1, 1}), "NoGradGuard");
  EXPECT_ERROR(attention->new_state({.capacity = 0}), "at least 1 position");
  EXPECT_ERROR(make_attention({"", {.heads = 3}, false})->new_state({.capacity = 5}),
               "expected a causal model");
}

}  // namespace

}  // namespace moe::layers::attention_state_test
