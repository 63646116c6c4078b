// What every mixer must hold. T tokens, N sequences, D width.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/howto.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>

#include <moe/layers/mixer.h>
#include <moe/parameters/initialise.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::layers::mixers_table {
MixerRegistry::Entry make_running_mean();
}

namespace moe::layers::mixer_contract_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t D = 8;

/// The mixer of docs/howto/add_a_mixer.md runs with the built-in ones.
std::vector<std::string> all_mixers() {
  moe::test::register_howto(mixers(), "running_mean", mixers_table::make_running_mean());
  return mixers().names();
}

class MixerContract : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  const moe::test::WithThreads one_thread_{1};

  bool causal() const { return std::get<1>(GetParam()); }
  std::shared_ptr<Mixer> make(const at::TensorOptions& tensors = {}) const {
    const MixerShape shape = {.d_model = D, .causal = causal(), .tensors = tensors};
    return mixers().at(std::get<0>(GetParam())).make(shape, {});
  }
  std::shared_ptr<Mixer> random() const {
    auto mixer = make();
    randomise(*mixer, 2, 0.4);
    return mixer;
  }
  static LayerContext of(const Sequences& sequences) {
    LayerContext context;
    context.tokens.sequences = sequences;
    return context;
  }
};

INSTANTIATE_TEST_SUITE_P(Mixers, MixerContract,
                         testing::Combine(testing::ValuesIn(all_mixers()), testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) ? "_causal" : "_bidirectional");
                         });

TEST_P(MixerContract, SequencesOfAnyLengthsGetWhatEachGetsAlone) {
  const auto mixer = random();
  const std::vector<int64_t> lengths = {4, 0, 7, 1, 4};
  const Tensor x_TD = normal({16, D}, 3);
  const Tensor together_TD = mixer->forward(x_TD, of(Sequences::of_lengths(lengths)), nullptr);
  ASSERT_EQ(together_TD.sizes(), x_TD.sizes());
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    const Tensor alone = mixer->forward(x_TD.slice(0, begin, begin + length),
                                        of(Sequences::equal(1, length)), nullptr);
    expect_close(together_TD.slice(0, begin, begin + length), alone, 1e-12,
                 concat("the sequence of ", length, " tokens at ", begin));
    begin += length;
  }
}

TEST_P(MixerContract, GradientsEqualCentralDifferences) {
  const auto mixer = random();
  Tensor x_TD = normal({9, D}, 3);
  for (const Sequences& sequences : {Sequences::equal(3, 3), Sequences::of_lengths({5, 1, 3})}) {
    auto inputs = named_parameters_of(*mixer);
    inputs.emplace_back("x", x_TD);
    LayerContext context = of(sequences);
    context.training = true;
    expect_directional_gradients(
        [&] {
          return (mixer->forward(x_TD, context, nullptr) * normal({9, D}, 5)).sum();
        },
        inputs);
  }
}

TEST_P(MixerContract, ACausalMixerLooksAtNothingLater) {
  if (!causal()) GTEST_SKIP() << "a bidirectional mixer may look";
  const auto mixer = random();
  Tensor x_TD = normal({12, D}, 3);
  const LayerContext context = of(Sequences::equal(2, 6));
  const Tensor before_TD = mixer->forward(x_TD, context, nullptr).detach();
  x_TD[4].add_(1);
  const Tensor after_TD = mixer->forward(x_TD, context, nullptr).detach();
  expect_close(after_TD.slice(0, 0, 4), before_TD.slice(0, 0, 4), 1e-13);
  expect_close(after_TD.slice(0, 6), before_TD.slice(0, 6), 1e-13, "the other sequence");
  EXPECT_FALSE(after_TD.slice(0, 4, 6).equal(before_TD.slice(0, 4, 6)));
}

TEST_P(MixerContract, AStateGoesOnWhereItsSequencesAre) {
  if (!causal()) GTEST_SKIP() << "nothing goes on from a bidirectional mixer";
  const at::NoGradGuard no_grad;
  const auto mixer = random();
  const std::vector<Tensor> x = {normal({7, D}, 3), normal({5, D}, 4), normal({6, D}, 5)};
  std::vector<Tensor> whole, parts(3, Tensor());
  for (const Tensor& x_SD : x)
    whole.push_back(mixer->forward(x_SD, of(Sequences::equal(1, x_SD.size(0))), nullptr));

  const auto state = mixer->new_state({.capacity = 8, .tensors = at::TensorOptions(at::kDouble)});
  std::vector<int64_t> seen(3, 0), slots;
  const auto call = [&](const std::vector<int64_t>& fresh) {  // one number a slot
    Sequences sequences = Sequences::of_lengths(fresh);
    std::vector<Tensor> tokens;
    for (size_t i = 0; i < slots.size(); ++i) {
      const auto n = static_cast<size_t>(slots[i]);
      sequences.first_position.push_back(seen[n]);
      tokens.push_back(x[n].slice(0, seen[n], seen[n] + fresh[i]));
    }
    const Tensor y_TD = mixer->forward(at::cat(tokens), of(sequences), state.get());
    for (size_t i = 0; i < slots.size(); ++i) {
      const auto n = static_cast<size_t>(slots[i]);
      const auto run = static_cast<int64_t>(i);
      const Tensor mine = y_TD.slice(0, sequences.runs.begin(run), sequences.runs.end(run));
      parts[n] = parts[n].defined() ? at::cat({parts[n], mine}) : mine;
      seen[n] += fresh[i];
    }
  };
  state->join(2);
  slots = {0, 1};
  call({3, 1});  // two prompts
  state->join(1);
  slots = {0, 1, 2};
  call({1, 1, 4});  // a prompt beside single tokens
  state->keep({2, 0});
  slots = {2, 0};  // one leaves, the others change places
  call({0, 1});
  call({2, 2});
  for (const size_t n : {size_t{0}, size_t{1}, size_t{2}})
    expect_close(parts[n], whole[n].slice(0, 0, seen[n]), 1e-12, concat("sequence ", n));
  EXPECT_GE(state->bytes(), 0);
}

TEST_P(MixerContract, TakesNoTokenAndOne) {
  const auto mixer = random();
  EXPECT_EQ(mixer->forward(normal({0, D}, 3), of({}), nullptr).sizes(),
            (std::vector<int64_t>{0, D}));
  EXPECT_TRUE(mixer->forward(normal({1, D}, 3), of(Sequences::equal(1, 1)), nullptr)
                  .isfinite()
                  .all()
                  .item<bool>());
}

TEST_P(MixerContract, TokensWithoutASequenceAreOne) {
  const auto mixer = random();
  const Tensor x_TD = normal({5, D}, 3);
  expect_close(mixer->forward(x_TD, of({}), nullptr),
               mixer->forward(x_TD, of(Sequences::equal(1, 5)), nullptr), 1e-12);
}

TEST_P(MixerContract, AnUnfilledOneBecomesTheSameAsAFilledOne) {
  const auto filled = make(), unfilled = make(at::TensorOptions(at::kMeta));
  for (const Parameter& parameter : tensors_of(*unfilled))
    EXPECT_TRUE(parameter.tensor.is_meta()) << parameter.name;
  materialise(*unfilled);
  initialise(*filled, {}, 4);
  initialise(*unfilled, {}, 4);
  const auto expected = tensors_of(*filled), got = tensors_of(*unfilled);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    expect_identical(got[i].tensor.detach(), expected[i].tensor.detach(), expected[i].name);
}

TEST_P(MixerContract, ThreadsChangeNoBit) {
  const auto mixer = make();
  initialise(*mixer, {}, 4);
  const Tensor x_TD = normal({40, D}, 3).to(at::kFloat);
  const LayerContext context = of(Sequences::of_lengths({20, 3, 17}));
  const Tensor expected = mixer->forward(x_TD, context, nullptr).detach();
  const moe::test::WithThreads two(2);
  expect_identical(mixer->forward(x_TD, context, nullptr).detach(), expected);
}

}  // namespace

}  // namespace moe::layers::mixer_contract_test
