// Attention to another text against plain loops. T tokens, M tokens of the memory, D width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/cross_attention.h>

namespace moe::layers::cross_attention_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t D = 8, kHeads = 2, kWidth = 3;

std::shared_ptr<Mixer> make(double scale = 0) {
  const auto out = make_cross_attention(
      MixerShape{.d_model = D},
      {.heads = kHeads, .head_dim = kWidth, .bias = scale == 0, .scale = scale});
  moe::test::randomise(*out, 2);
  return out;
}

LayerContext of(const std::vector<int64_t>& lengths, const Tensor& memory_MD,
                const std::vector<int64_t>& memories) {
  LayerContext context;
  context.tokens.sequences = Sequences::of_lengths(lengths);
  context.memory = std::make_shared<Memory>(Memory{memory_MD, Sequences::of_lengths(memories)});
  return context;
}

/// One sequence x_TD with the memory m_MD.
Tensor naive(const Mixer& mixer, double scale, const Tensor& x_TD, const Tensor& m_MD) {
  const auto p = mixer.named_parameters();
  const auto project = [&](const Tensor& x, const std::string& name) {
    const Tensor* const bias = p.find("b_" + name);
    return at::linear(x, p["w_" + name], bias ? *bias : Tensor());
  };
  const Tensor q = project(x_TD, "q"), k = project(m_MD, "k"), v = project(m_MD, "v");
  const double factor = scale > 0 ? scale : 1 / std::sqrt(static_cast<double>(kWidth));
  Tensor heads = at::zeros_like(q);
  for (int64_t t = 0; t < x_TD.size(0); ++t)
    for (int64_t h = 0; h < kHeads; ++h) {
      const auto head = [&](const Tensor& x, int64_t i) {
        return x[i].slice(0, h * kWidth, (h + 1) * kWidth);
      };
      double total = 0;
      Tensor sum = at::zeros({kWidth}, at::kDouble);
      for (int64_t c = 0; c < m_MD.size(0); ++c) {
        const double weight = std::exp(factor * (head(q, t) * head(k, c)).sum().item<double>());
        total += weight;
        sum += head(v, c) * weight;
      }
      head(heads, t).copy_(sum / total);
    }
  return project(heads, "o");
}

TEST(CrossAttention, IsWhatPlainLoopsGive) {
  const at::NoGradGuard no_grad;
  for (const double scale : {0.0, 1.0}) {
    const auto mixer = make(scale);
    const Tensor x_TD = normal({6, D}, 3), m_MD = normal({8, D}, 4);
    for (const auto& [lengths, memories] :
         std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
             {{3, 3}, {4, 4}}, {{1, 5}, {6, 2}}, {{6}, {8}}, {{0, 4, 2}, {3, 1, 4}}}) {
      const Tensor got_TD = mixer->forward(x_TD, of(lengths, m_MD, memories), nullptr);
      int64_t token = 0, key = 0;
      for (size_t n = 0; n < lengths.size(); token += lengths[n], key += memories[n], ++n)
        expect_close(got_TD.narrow(0, token, lengths[n]),
                     naive(*mixer, scale, x_TD.narrow(0, token, lengths[n]),
                           m_MD.narrow(0, key, memories[n])),
                     1e-12);
    }
  }
}

TEST(CrossAttention, GradientsEqualCentralDifferences) {
  const auto mixer = make();
  Tensor x_TD = normal({5, D}, 3), m_MD = normal({7, D}, 4);
  auto tensors = moe::test::named_parameters_of(*mixer);
  tensors.emplace_back("x", x_TD);
  tensors.emplace_back("memory", m_MD);
  const Tensor weights = normal({5, D}, 5);
  moe::test::expect_directional_gradients(
      [&] {
        return (mixer->forward(x_TD, of({2, 3}, m_MD, {4, 3}), nullptr) * weights).sum();
      },
      tensors);
}

TEST(CrossAttention, AStateKeepsWhatWasRead) {
  const at::NoGradGuard no_grad;
  const auto mixer = make();
  const Tensor x_TD = normal({4, D}, 3), y_TD = normal({5, D}, 4), m_MD = normal({3, D}, 5),
               n_MD = normal({6, D}, 6), none_MD = m_MD.slice(0, 0, 0);
  const Tensor one = mixer->forward(x_TD, of({4}, m_MD, {3}), nullptr),
               other = mixer->forward(y_TD, of({5}, n_MD, {6}), nullptr);
  const auto state = mixer->new_state({.capacity = 8, .tensors = at::TensorOptions(at::kDouble)});
  state->join(1);
  expect_close(mixer->forward(x_TD.slice(0, 0, 2), of({2}, m_MD, {3}), state.get()),
               one.slice(0, 0, 2), 1e-12);
  EXPECT_EQ(state->bytes(), 2 * 3 * kHeads * kWidth * 8);
  state->join(1);
  const Tensor both = mixer->forward(at::cat({x_TD.slice(0, 2, 3), y_TD.slice(0, 0, 3)}),
                                     of({1, 3}, n_MD, {0, 6}), state.get());
  expect_close(both.slice(0, 0, 1), one.slice(0, 2, 3), 1e-12);
  expect_close(both.slice(0, 1), other.slice(0, 0, 3), 1e-12);
  state->keep({1, 0});
  const Tensor swapped = mixer->forward(at::cat({y_TD.slice(0, 3), x_TD.slice(0, 3)}),
                                        of({2, 1}, none_MD, {0, 0}), state.get());
  expect_close(swapped.slice(0, 0, 2), other.slice(0, 3), 1e-12);
  expect_close(swapped.slice(0, 2), one.slice(0, 3), 1e-12);
}

TEST(CrossAttention, ASequenceGetsTheSameBitsAloneAndBesideOthers) {
  const at::NoGradGuard no_grad;
  const auto mixer = make();
  mixer->to(at::kFloat);
  const Tensor x_TD = normal({4, D}, 3).to(at::kFloat), m_MD = normal({9, D}, 5).to(at::kFloat);
  const auto state = [&](int64_t slots) {
    auto out = mixer->new_state({.capacity = 8, .tensors = at::TensorOptions(at::kFloat)});
    out->join(slots);
    return out;
  };
  const auto together = state(2), first = state(1), second = state(1);
  const Tensor both = mixer->forward(x_TD, of({1, 3}, m_MD, {4, 5}), together.get());
  expect_identical(
      mixer->forward(x_TD.slice(0, 0, 1), of({1}, m_MD.slice(0, 0, 4), {4}), first.get()),
      both.slice(0, 0, 1));
  expect_identical(mixer->forward(x_TD.slice(0, 1), of({3}, m_MD.slice(0, 4), {5}), second.get()),
                   both.slice(0, 1));
}

TEST(CrossAttention, RefusesMemoriesThatDoNotFit) {
  const auto mixer = make();
  const Tensor x_TD = normal({4, D}, 3), m_MD = normal({3, D}, 5);
  LayerContext context;
  EXPECT_ERROR(mixer->forward(x_TD, context, nullptr), "expected a memory to attend to, got none");
  EXPECT_ERROR(mixer->forward(x_TD, of({4}, normal({3, 5}, 1), {3}), nullptr), "(M, D=8)");
  EXPECT_ERROR(mixer->forward(x_TD, of({4}, m_MD, {2}), nullptr), "2 tokens");
  EXPECT_ERROR(mixer->forward(x_TD, of({2, 2}, m_MD, {3}), nullptr), "a memory of 2 sequences");
  EXPECT_ERROR(mixer->forward(x_TD, of({2, 2}, m_MD, {3, 0}), nullptr),
               "at least one token of memory for sequence 1");
  EXPECT_ERROR(CrossAttention{.heads = -1}.validate("c"), "'c.heads' of at least 0, got -1");
}

}  // namespace

}  // namespace moe::layers::cross_attention_test
