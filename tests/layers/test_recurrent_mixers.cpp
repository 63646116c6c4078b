// Recurrent mixers against plain loops, with and without a state. S tokens of one sequence, D
// width.
#include <tests/layers/recurrent_forms.h>
#include <tests/layers/running_mixer.h>
#include <tests/support/message_of.h>

#include <ATen/ops/arange.h>

namespace moe::layers::recurrent_mixers_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::finder;
using moe::test::make_recurrent;
using moe::test::normal;
using moe::test::read_in_pieces;
using moe::test::recurrent_forms;

constexpr int64_t D = moe::test::kRecurrentWidth;

LayerContext of_lengths(const std::vector<int64_t>& lengths) {
  LayerContext out;
  out.tokens.sequences = Sequences::of_lengths(lengths);
  return out;
}

TEST(RecurrentMixers, EqualPlainLoops) {
  const at::NoGradGuard no_grad;
  for (const auto& form : recurrent_forms()) {
    const auto mixer = make_recurrent(form);
    for (const int64_t S : {1, 2, 21}) {
      SCOPED_TRACE(concat(form.name, ", ", S, " tokens"));
      const Tensor x_SD = normal({S, D}, 2);
      const Tensor expected = form.naive(finder(*mixer), x_SD);
      expect_close(mixer->forward(x_SD, {}, nullptr), expected, 1e-11);
    }
    const Tensor x_TD = normal({9, D}, 3);
    const Tensor together = mixer->forward(x_TD, of_lengths({4, 0, 5}), nullptr);
    expect_close(together.slice(0, 4), form.naive(finder(*mixer), x_TD.slice(0, 4)), 1e-11,
                 form.name);
  }
}

TEST(RecurrentMixers, HaveTheGradientsOfPlainLoops) {
  for (const auto& form : recurrent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = make_recurrent(form);
    const auto gradients = [&](bool naive) {
      const Tensor x_SD = normal({11, D}, 2).set_requires_grad(true);
      mixer->zero_grad();
      const Tensor y_SD =
          naive ? form.naive(finder(*mixer), x_SD) : mixer->forward(x_SD, {}, nullptr);
      (y_SD * normal({11, D}, 4)).sum().backward();
      auto out = moe::test::gradients_of(*mixer);
      out["x"] = x_SD.grad();
      return out;
    };
    const auto got = gradients(false);
    for (const auto& [name, expected] : gradients(true)) {
      const double scale = 1 + expected.abs().max().item<double>();
      expect_close(got.at(name) / scale, expected / scale, 1e-10, name);
    }
  }
}

TEST(RecurrentMixers, GradientsEqualCentralDifferences) {
  for (const auto& form : recurrent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = form.spec.make(MixerShape{.d_model = D});
    moe::test::randomise(*mixer, 2, 0.3);
    Tensor x_TD = normal({9, D}, 3);
    auto inputs = moe::test::named_parameters_of(*mixer);
    inputs.emplace_back("x", x_TD);
    if (form.name == "mamba2 in groups") continue;  // its steps are cut: not smooth
    expect_directional_gradients(
        [&] {
          return (mixer->forward(x_TD, of_lengths({5, 1, 3}), nullptr) * normal({9, D}, 5)).sum();
        },
        inputs);
  }
}

TEST(RecurrentMixers, PiecesEqualOneCallWithoutAState) {
  const at::NoGradGuard no_grad;
  for (const auto& form : recurrent_forms())
    for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-4}}) {
      SCOPED_TRACE(concat(form.name, ' ', type));
      moe::test::expect_pieces_equal_one_call(make_recurrent(form), D, type, bound);
    }
}

TEST(RecurrentMixers, ABatchGivesEachSequenceTheBitsItGetsAlone) {
  const at::NoGradGuard no_grad;
  for (const auto& form : recurrent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = make_recurrent(form);
    mixer->to(at::kFloat);
    moe::test::expect_bits_of_alone(mixer, D);
    const Tensor x_TD = normal({60, D}, 3).to(at::kFloat);
    const std::vector<int64_t> lengths = {17, 0, 1, 29, 13};
    const Tensor together = mixer->forward(x_TD, of_lengths(lengths), nullptr);
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      const Tensor alone =
          mixer->forward(x_TD.slice(0, begin, begin + length), of_lengths({length}), nullptr);
      expect_identical(alone, together.slice(0, begin, begin + length));
      begin += length;
    }
  }
}

TEST(RecurrentMixers, TakeBfloat16) {
  const at::NoGradGuard no_grad;
  for (const auto& form : recurrent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = form.spec.make(MixerShape{.d_model = D});
    moe::test::randomise(*mixer, 1, 0.2);
    mixer->to(at::kFloat);
    const Tensor x_SD = normal({30, D}, 2).to(at::kFloat);
    const Tensor wide = mixer->forward(x_SD, {}, nullptr);
    const double scale = wide.abs().max().item<double>();
    mixer->to(at::kBFloat16);
    const Tensor narrow = read_in_pieces(mixer, x_SD.to(at::kBFloat16), {20, 21, 22, 27, 30}, 30);
    EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
    expect_close(narrow.to(at::kFloat) / scale, wide / scale, 0.05);
  }
}

TEST(RecurrentMixers, AStateHasTheNumbersThatTheMixerSays) {
  for (const auto& form : recurrent_forms()) {
    const auto mixer = make_recurrent(form);
    auto state = mixer->new_state({.capacity = 1000, .tensors = at::TensorOptions(at::kFloat)});
    EXPECT_EQ(state->bytes(), 0) << form.name;
    state->join(3);
    EXPECT_EQ(state->bytes(), 3 * 4 * mixer->state_numbers(1000)) << form.name;
    state->keep({2, 0});
    EXPECT_EQ(state->bytes(), 2 * 4 * mixer->state_numbers(1)) << form.name;
  }
}

TEST(RecurrentMixers, RefuseWhatDoesNotFitTheState) {
  for (const auto& form : recurrent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = make_recurrent(form);
    const Tensor x_TD = normal({2, D}, 2);
    moe::test::RunningMixer running(mixer, 5, at::kDouble);
    running.join(2);
    EXPECT_ERROR(running.read(x_TD, {1, 1}), "without gradients only");
    const at::NoGradGuard no_grad;
    EXPECT_ERROR(running.read(x_TD, {2}), "expected a sequence for each of the state's 2 slots");
    running.lengths = {0, 3};
    EXPECT_ERROR(running.read(x_TD, {1, 1}), "expected sequence 1 to go on at position 0, got 3");
    EXPECT_ERROR(mixer->forward(x_TD, of_lengths({3}), nullptr), "of the call's 2 tokens, got 3");
  }
}

TEST(RecurrentMixers, CheckTheirOptions) {
  const auto message = [](const MixerSpec& spec) {
    return moe::test::message_of([&] {
      spec.validate("mixer");
      spec.make(MixerShape{.d_model = D});
    });
  };
  const auto expect = [&](const MixerSpec& spec, const char* part) {
    EXPECT_TRUE(moe::test::contains(message(spec), part)) << message(spec);
  };
  expect(GatedDeltaNet{.key_heads = 2, .value_heads = 3}, "to be a multiple of key_heads");
  expect(GatedDeltaNet{.activation = "mish"}, "mixer.activation");
  expect(KimiDeltaAttention{.heads = 0}, "'mixer.heads' of at least 1, got 0");
  expect(Mamba{.state = 0}, "'mixer.state' of at least 1");
  expect(Mamba2{.heads = 3, .groups = 2}, "to be a multiple of groups");
  expect(Mamba2{.heads = 4, .norm_groups = 5}, "to be a multiple of norm_groups");
  expect(Mamba2{.least_step = -1}, "'mixer.least_step' to be finite and at least 0");
  expect(LightningAttention{.decay = -1}, "'mixer.decay' to be finite");
  expect(ShortConvolution{.width = 0}, "'mixer.width' of at least 1");
}

TEST(RecurrentMixers, StartWithDecaysAndStepsInTheirRanges) {
  const auto mixer = MixerSpec(GatedDeltaNet{.key_heads = 200}).make(MixerShape{.d_model = 8});
  initialise(*mixer, {}, 3);
  const auto find = finder(*mixer);
  const Tensor rates = find("a_log").exp(),
               steps = moe::test::naive_recurrent::softplus_of(find("dt_bias"));
  EXPECT_GE(rates.min().item<double>(), 1);
  EXPECT_LE(rates.max().item<double>(), 16);
  EXPECT_GT(rates.max().item<double>() - rates.min().item<double>(), 10);
  EXPECT_GE(steps.min().item<double>(), 0.00099);
  EXPECT_LE(steps.max().item<double>(), 0.1001);
  const auto mamba = MixerSpec(Mamba{.state = 3}).make(MixerShape{.d_model = 8});
  initialise(*mamba, {}, 3);
  expect_close(finder(*mamba)("a_log")[5].exp(), at::arange(1, 4, at::kFloat), 1e-6);
}

}  // namespace

}  // namespace moe::layers::recurrent_mixers_test
