// Latent attention that goes on from a state. T tokens, D width, N slots.
#include <tests/layers/latent_forms.h>
#include <tests/layers/running_mixer.h>
#include <tests/support/message_of.h>

#include <ATen/ops/empty.h>

#include <moe/flow/key_choices.h>
#include <moe/ops/attend_rows.h>

namespace moe::layers::latent_state_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::latent_forms;
using moe::test::LatentForm;
using moe::test::make_latent;
using moe::test::normal;
using moe::test::read_in_pieces;
using moe::test::RunningMixer;

constexpr int64_t D = moe::test::kLatentWidth;

std::vector<LatentForm> causal_latent_forms() {
  auto out = latent_forms();
  std::erase_if(out, [](const LatentForm& form) { return !form.causal; });
  return out;
}

TEST(LatentState, PiecesEqualOneCallWithoutAState) {
  const at::NoGradGuard no_grad;
  for (const LatentForm& form : causal_latent_forms())
    for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 2e-5}}) {
      SCOPED_TRACE(concat(form.name, ' ', type));
      moe::test::expect_pieces_equal_one_call(make_latent(form), D, type, bound);
    }
}

TEST(LatentState, ABatchGivesEachSequenceTheBitsItGetsAlone) {
  if (!ops::can_attend_rows(at::empty({1}), at::empty({1})))
    GTEST_SKIP() << "libtorch's products, which are in use, give other bits for other batches";
  const at::NoGradGuard no_grad;
  for (const LatentForm& form : causal_latent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = make_latent(form);
    mixer->to(at::kFloat);
    moe::test::expect_bits_of_alone(mixer, D);
  }
}

TEST(LatentState, ThreadsChangeNoBitOfDecodedTokens) {
  const at::NoGradGuard no_grad;
  for (const LatentForm& form : causal_latent_forms()) {
    SCOPED_TRACE(form.name);
    moe::test::expect_bits_on_any_threads(make_latent(form), D, 100);
  }
}

TEST(LatentState, HoldsTheLatentTheSharedKeyAndTheIndexersKey) {
  LatentForm form = {"", {.heads = 8, .q_rank = 6, .kv_rank = 5, .nope_dim = 16, .rope_dim = 4}};
  const auto bytes = [&] {
    auto state = make_latent(form)->new_state({.capacity = 100, .tensors = at::kFloat});
    state->join(3);
    return state->bytes();
  };
  EXPECT_EQ(bytes(), 3 * 100 * (5 + 4) * 4);
  form.options.indexer = {.heads = 2, .head_dim = 7, .top_k = 3};
  EXPECT_EQ(bytes(), 3 * 100 * (5 + 4 + 7) * 4);
  form.options.indexer = {.top_k = 3, .shared = true};
  EXPECT_EQ(bytes(), 3 * 100 * (5 + 4) * 4);
}

TEST(LatentState, SlotsOfThoseWhoLeftAreUsedAgain) {
  auto state = make_latent(latent_forms().front())->new_state({.capacity = 10});
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

TEST(LatentState, TakesBfloat16) {
  const at::NoGradGuard no_grad;
  const Tensor x_SD = normal({30, D}, 2).to(at::kFloat);
  for (const LatentForm& form : causal_latent_forms()) {
    if (form.options.indexer.active()) continue;  // rounded scores choose other keys
    SCOPED_TRACE(form.name);
    const auto mixer = make_latent(form);
    mixer->to(at::kFloat);
    const Tensor wide_SD = mixer->forward(x_SD, {}, nullptr);
    const double scale = wide_SD.abs().max().item<double>();
    mixer->to(at::kBFloat16);
    const Tensor narrow_SD =
        read_in_pieces(mixer, x_SD.to(at::kBFloat16), {20, 21, 22, 27, 30}, 30);
    EXPECT_EQ(narrow_SD.scalar_type(), at::kBFloat16);
    expect_close(narrow_SD.to(at::kFloat) / scale, wide_SD / scale, 0.05);
  }
}

/// A layer with an indexer and two that share its choice, read in pieces.
TEST(LatentState, SharedChoicesGoOnToo) {
  const at::NoGradGuard no_grad;
  LatentForm full = {"", {.heads = 2, .q_rank = 4, .kv_rank = 5, .nope_dim = 4, .rope_dim = 2}};
  LatentForm sharing = full;
  full.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 3};
  sharing.options.indexer = {.top_k = 3, .shared = true};
  const std::vector<std::shared_ptr<Mixer>> mixers = {make_latent(full), make_latent(sharing)};
  const Tensor x_SD = normal({30, D}, 3);
  const auto pass = [&](const Tensor& x, int64_t first,
                        std::vector<std::unique_ptr<LayerState>>* states) {
    LayerContext context;
    context.tokens.sequences = Sequences::equal(1, x.size(0));
    if (states) context.tokens.sequences.first_position = {first};
    context.key_choices = std::make_shared<KeyChoices>();
    Tensor h = x;
    for (size_t i = 0; i < mixers.size(); ++i) {
      context.layer = static_cast<int64_t>(i);
      h = h + mixers[i]->forward(h, context, states ? states->at(i).get() : nullptr);
    }
    return h;
  };
  std::vector<std::unique_ptr<LayerState>> states;
  for (const auto& mixer : mixers) {
    states.push_back(mixer->new_state({.capacity = 30, .tensors = at::kDouble}));
    states.back()->join(1);
  }
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t end : {2, 3, 22, 23, 24, 30}) {
    parts.push_back(pass(x_SD.slice(0, begin, end), begin, &states));
    begin = end;
  }
  expect_close(at::cat(parts), pass(x_SD, 0, nullptr), 1e-12);
}

TEST(LatentState, RefusesWhatDoesNotFitIt) {
  const LatentForm form = latent_forms().front();
  const auto mixer = make_latent(form);
  const Tensor x_TD = normal({2, D}, 2);
  RunningMixer running(mixer, 5, at::kDouble);
  running.join(2);
  {
    const at::NoGradGuard no_grad;
    running.read(x_TD, {1, 1});
    EXPECT_ERROR(running.read(x_TD, {2}), "a sequence for each of the state's 2 slots, got 1");
    LayerContext context;
    context.tokens.sequences = Sequences::of_lengths({1, 1});
    context.tokens.sequences.first_position = {1, 2};
    EXPECT_ERROR(mixer->forward(x_TD, context, running.state.get()),
                 "sequence 1 to go on at position 1, got 2");
    EXPECT_ERROR(running.read(normal({5, D}, 2), {5, 0}),
                 "at most 5 positions of one sequence, got 6");
    running.read(x_TD, {1, 1});  // nothing was taken up by what was refused
  }
  EXPECT_ERROR(running.read(x_TD, {1, 1}), "NoGradGuard");
  EXPECT_ERROR(mixer->new_state({.capacity = 0}), "at least 1 position");
  EXPECT_ERROR(make_latent({"", form.options, false})->new_state({.capacity = 5}),
               "expected a causal model");
}

}  // namespace

}  // namespace moe::layers::latent_state_test
