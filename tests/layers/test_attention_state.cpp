// Attention that goes on from a state. T tokens, D width, N slots.
#include <tests/layers/attention_forms.h>
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

constexpr int64_t D = moe::test::kAttentionWidth;

std::vector<AttentionForm> causal_forms() {
  std::vector<AttentionForm> out;
  for (const AttentionForm& form : attention_forms())
    if (form.causal) out.push_back(form);
  return out;
}

/// A state and how many tokens each slot has seen.
struct Running {
  std::shared_ptr<Mixer> attention;
  std::unique_ptr<LayerState> state;
  std::vector<int64_t> lengths;

  Running(std::shared_ptr<Mixer> mixer, int64_t capacity, at::ScalarType type)
      : attention(std::move(mixer)),
        state(attention->new_state({.capacity = capacity, .tensors = at::TensorOptions(type)})) {}

  void join(int64_t count) {
    state->join(count);
    lengths.resize(lengths.size() + static_cast<size_t>(count));
  }
  Tensor read(const Tensor& x_TD, const std::vector<int64_t>& fresh) {
    LayerContext context = context_of(fresh);
    context.tokens.sequences.first_position = lengths;
    const Tensor y_TD = attention->forward(x_TD, context, state.get());
    for (size_t n = 0; n < fresh.size(); ++n) lengths[n] += fresh[n];
    return y_TD;
  }
};

/// Sequence `x_SD` read alone in pieces that end at `cuts`.
Tensor read_alone(const std::shared_ptr<Mixer>& attention, const Tensor& x_SD,
                  const std::vector<int64_t>& cuts, int64_t capacity) {
  Running running(attention, capacity, x_SD.scalar_type());
  running.join(1);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t end : cuts) {
    parts.push_back(running.read(x_SD.slice(0, begin, end), {end - begin}));
    begin = end;
  }
  return at::cat(parts, 0);
}

TEST(AttentionState, PiecesEqualOneCallWithoutAState) {
  const at::NoGradGuard no_grad;
  constexpr int64_t S = 41;
  const Tensor x_SD = normal({S, D}, 2);
  for (const AttentionForm& form : causal_forms())
    for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-5}}) {
      SCOPED_TRACE(concat(form.name, ' ', type));
      const auto attention = make_attention(form);
      attention->to(type);
      const Tensor x = x_SD.to(type), whole_SD = attention->forward(x, {}, nullptr);
      std::vector<int64_t> ones;
      for (int64_t s = 1; s <= S; ++s) ones.push_back(s);
      for (const std::vector<int64_t>& cuts :
           {std::vector<int64_t>{41}, {3, 4, 41}, {20, 21, 22, 39, 41}, {1, 17, 35, 41}, ones})
        expect_close(read_alone(attention, x, cuts, S), whole_SD, bound);
    }
}

/// Prompts of several lengths, single tokens and nothing, mixed in calls; sequences join and leave.
TEST(AttentionState, ABatchGivesEachSequenceTheBitsItGetsAlone) {
  if (!ops::can_attend_rows(at::empty({1}), at::empty({1})))
    GTEST_SKIP() << "libtorch's products, which are in use, give other bits for other batches";
  const at::NoGradGuard no_grad;
  constexpr int64_t kCapacity = 64;
  const std::vector<int64_t> kLengths = {23, 5, 40, 5, 1, 33};
  for (const AttentionForm& form : causal_forms())
    for (const bool bias_norms : {false, true}) {
      SCOPED_TRACE(form.name);
      AttentionForm used = form;
      if (bias_norms) used.norm = "layernorm";
      const auto attention = make_attention(used);
      attention->to(at::kFloat);
      std::vector<Tensor> x, y(kLengths.size());
      for (size_t i = 0; i < kLengths.size(); ++i)
        x.push_back(normal({kCapacity, D}, 10 + i).to(at::kFloat));
      std::vector<std::vector<int64_t>> cuts(kLengths.size());
      Running running(attention, kCapacity, at::kFloat);
      std::vector<size_t> slots;  // which sequence each is
      const auto call = [&](const std::vector<int64_t>& fresh) {
        std::vector<Tensor> parts;
        for (size_t n = 0; n < slots.size(); ++n)
          parts.push_back(x[slots[n]].slice(0, running.lengths[n], running.lengths[n] + fresh[n]));
        const Tensor y_TD = running.read(at::cat(parts, 0), fresh);
        int64_t begin = 0;
        for (size_t n = 0; n < slots.size(); ++n) {
          const Tensor mine = y_TD.slice(0, begin, begin + fresh[n]);
          y[slots[n]] = y[slots[n]].defined() ? at::cat({y[slots[n]], mine}) : mine;
          if (fresh[n] > 0) cuts[slots[n]].push_back(running.lengths[n]);
          begin += fresh[n];
        }
      };
      const auto join = [&](size_t i) {
        running.join(1);
        slots.push_back(i);
      };
      const auto keep = [&](const std::vector<int64_t>& kept) {
        running.state->keep(kept);
        std::vector<size_t> left;
        std::vector<int64_t> lengths;
        for (const int64_t n : kept) {
          left.push_back(slots[static_cast<size_t>(n)]);
          lengths.push_back(running.lengths[static_cast<size_t>(n)]);
        }
        slots = left;
        running.lengths = lengths;
      };
      join(0), join(1), join(2);
      call({23, 5, 40});
      call({1, 1, 1});
      join(3);
      call({1, 0, 1, 5});
      call({1, 1, 3, 1});
      keep({2, 3, 0});  // another order; 1 leaves
      join(4), join(5);
      call({1, 1, 1, 1, 33});
      call({17, 1, 1, 16, 0});
      keep({4, 1});
      call({1, 20});
      for (size_t i = 0; i < kLengths.size(); ++i)
        expect_identical(y[i], read_alone(attention, x[i], cuts[i], kCapacity),
                         concat("sequence ", i));
    }
}

TEST(AttentionState, ThreadsChangeNoBitOfDecodedTokens) {
  const at::NoGradGuard no_grad;
  const auto attention = make_attention({"", {.heads = 6, .kv_heads = 2}});
  attention->to(at::kFloat);
  const Tensor x_SD = normal({300, D}, 2).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const moe::test::WithThreads with(threads);
    Running running(attention, 300, at::kFloat);
    running.join(2);
    std::vector<Tensor> parts;
    for (int64_t s = 0; s < 300; s += 10)
      parts.push_back(running.read(x_SD.slice(0, s, s + 10), {3, 7}));
    found.push_back(at::cat(parts));
  }
  expect_identical(found[1], found[0]);
  expect_identical(found[2], found[0]);
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
        read_alone(attention, x_SD.to(at::kBFloat16), {20, 21, 22, 27, 30}, 30);
    EXPECT_EQ(narrow_SD.scalar_type(), at::kBFloat16);
    expect_close(narrow_SD.to(at::kFloat) / scale, wide_SD / scale, 0.05);
  }
}

TEST(AttentionState, RefusesWhatDoesNotFitIt) {
  const auto attention = make_attention({"", {.heads = 3, .dropout = 0.1}});
  const Tensor x_TD = normal({2, D}, 2);
  Running running(attention, 5, at::kDouble);
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
