// The architecture of two stacks. T tokens, D width, V vocabulary.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/models/counts.h>
#include <moe/models/forward_pass.h>

#include "tests/models/tiny_encoder_decoder.h"

namespace moe::models::encoder_decoder_test {
namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::pair_model::Ids;
using moe::test::pair_model::inputs_of;
using moe::test::pair_model::options;
using moe::test::pair_model::Pair;
using moe::test::pair_model::pairs;

std::shared_ptr<Model> make(const EncoderDecoderOptions& o, at::ScalarType type = at::kDouble) {
  auto out = make_model(ModelSpec(o), /*seed=*/3, {}, at::kCPU, at::kDouble);
  moe::test::randomise(*out, 4, 0.4);
  out->to(type);
  return out;
}

Tensor logits_of(Model& model, const std::vector<Pair>& texts) {
  return model.head(model.forward(inputs_of(texts), {}).hidden_TD);
}

std::vector<std::pair<std::string, EncoderDecoderOptions>> forms() {
  return {{"t5", options()}, {"t5 with capacity", options(true, 1)}, {"nllb", options(false)}};
}

TEST(EncoderDecoder, APairGetsWhatItGetsAlone) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, o] : forms()) {
    const auto model = make(o);
    const Tensor together_TV = logits_of(*model, pairs());
    int64_t begin = 0;
    for (const Pair& pair : pairs()) {
      const auto count = static_cast<int64_t>(pair.written.size());
      expect_close(logits_of(*model, {pair}), together_TV.narrow(0, begin, count), 1e-12, name);
      begin += count;
    }
  }
}

TEST(EncoderDecoder, TheDecoderLooksBackAndAtTheWholeOtherText) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, o] : forms()) {
    const auto model = make(o);
    const Pair pair = {{3, 7, 4, 9}, {2, 5, 8, 6}};
    const Tensor before_TV = logits_of(*model, {pair});
    const Tensor later_TV = logits_of(*model, {{pair.read, {2, 5, 8, 9}}});
    expect_close(later_TV.slice(0, 0, 3), before_TV.slice(0, 0, 3), 1e-13, name);
    EXPECT_FALSE(later_TV[3].equal(before_TV[3])) << name;
    const Tensor other_TV = logits_of(*model, {{{3, 7, 4, 10}, pair.written}});
    for (int64_t t = 0; t < 4; ++t) EXPECT_FALSE(other_TV[t].equal(before_TV[t])) << name << t;
  }
}

TEST(EncoderDecoder, GradientsEqualCentralDifferences) {
  for (const auto& [name, o] : forms()) {
    SCOPED_TRACE(name);
    const auto model = make(o);
    moe::test::expect_directional_gradients(
        [&] {
          const Tensor logits_TV = logits_of(*model, pairs());
          return (logits_TV * normal(logits_TV.sizes(), 5)).sum();
        },
        moe::test::named_parameters_of(*model), 1e-6, 1e-5);
  }
}

TEST(EncoderDecoder, RecomputationGivesTheSameGradients) {
  const auto model = make(options());
  const auto gradients = [&](Recompute recompute) {
    for (auto& parameter : model->parameters()) parameter.mutable_grad() = Tensor();
    ForwardContext context;
    context.training = true;
    context.recompute = recompute;
    const Tensor hidden_TD = model->forward(inputs_of(pairs()), context).hidden_TD;
    (hidden_TD * normal(hidden_TD.sizes(), 5)).sum().backward();
    return moe::test::gradients_of(*model);
  };
  const auto plain = gradients(Recompute::kNone);
  for (const Recompute recompute : {Recompute::kMoE, Recompute::kBlocks})
    for (const auto& [name, gradient] : gradients(recompute))
      expect_close(gradient, plain.at(name), 1e-12, name);
}

/// Logits of the pairs' decoder texts, read `step` tokens at a time in one batch of all.
Tensor in_steps(Model& model, const std::vector<Pair>& texts, int64_t step) {
  GenerationState state = model.new_state(moe::test::pair_model::kContext, model.dtype());
  state.join(static_cast<int64_t>(texts.size()));
  std::vector<std::vector<Tensor>> parts(texts.size());
  for (bool more = true; more;) {
    std::vector<Pair> fresh;
    Ids lengths;
    for (size_t n = 0; n < texts.size(); ++n) {
      const int64_t seen = state.lengths()[n], all = static_cast<int64_t>(texts[n].written.size());
      const int64_t count = std::min(step, all - seen);
      const auto begin = texts[n].written.begin() + seen;
      fresh.push_back({seen == 0 ? texts[n].read : Ids(), Ids(begin, begin + count)});
      lengths.push_back(count);
    }
    more = std::ranges::any_of(lengths, [](int64_t count) { return count > 0; });
    if (!more) break;
    ModelInputs inputs = inputs_of(fresh);
    inputs.decoder.sequences = state.sequences(lengths);
    ForwardContext context;
    context.state = &state;
    const Tensor logits_TV = model.head(model.forward(inputs, context).hidden_TD);
    int64_t begin = 0;
    for (size_t n = 0; n < texts.size(); begin += lengths[n], ++n)
      parts[n].push_back(logits_TV.narrow(0, begin, lengths[n]));
  }
  std::vector<Tensor> out;
  for (const auto& of_text : parts) out.push_back(at::cat(of_text));
  return at::cat(out);
}

TEST(EncoderDecoder, AStateGivesWhatAWholeReadingGives) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, o] : forms()) {
    const auto model = make(o);
    const Tensor whole_TV = logits_of(*model, pairs());
    for (const int64_t step : {1, 2, 5})
      expect_close(in_steps(*model, pairs(), step), whole_TV, 1e-12, concat(name, ' ', step));
  }
}

TEST(EncoderDecoder, AStateGivesTheSameBitsAloneAndBesideOthers) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, o] : forms()) {
    const auto model = make(o, at::kFloat);
    for (const int64_t step : {1, 3}) {
      const Tensor together_TV = in_steps(*model, pairs(), step);
      int64_t begin = 0;
      for (const Pair& pair : pairs()) {
        const auto count = static_cast<int64_t>(pair.written.size());
        expect_identical(in_steps(*model, {pair}, step), together_TV.narrow(0, begin, count), name);
        begin += count;
      }
    }
  }
}

TEST(EncoderDecoder, TokensBeyondCapacityKeepTheStream) {
  const at::NoGradGuard no_grad;
  const auto model = make(options(true, 1));
  const auto out = model->forward(inputs_of({{{3, 3, 3, 7, 3}, {2, 2, 2, 2}}}), {});
  ASSERT_EQ(out.layers.size(), 2u);
  EXPECT_EQ(out.layers[0].layer, 1);
  EXPECT_EQ(out.layers[1].layer, 3);
  for (const auto& layer : out.layers) {
    EXPECT_GT(layer.balance.dropped.item<double>(), 0);
    // Four experts take one token each of a text.
    EXPECT_LE(layer.routing.counts_E().max().item<int64_t>(), 1);
  }
}

TEST(EncoderDecoder, SinusoidsAreThoseOfFairseq) {
  const Tensor got =
      sinusoids(at::tensor({2, 5, 1}, at::kLong), /*none=*/1, 7, at::TensorOptions(at::kDouble));
  ASSERT_EQ(got.sizes(), (std::vector<int64_t>{3, 7}));
  for (int64_t i = 0; i < 3; ++i) {
    const double f = std::exp(-static_cast<double>(i) * std::log(10000.0) / 2);
    EXPECT_NEAR(got[0][i].item<double>(), std::sin(2 * f), 1e-15);
    EXPECT_NEAR(got[1][3 + i].item<double>(), std::cos(5 * f), 1e-15);
  }
  EXPECT_EQ(got[0][6].item<double>(), 0);
  EXPECT_EQ(got[2].abs().max().item<double>(), 0);
}

TEST(EncoderDecoder, PositionsPassOverThePadId) {
  TokenList tokens = {.sequences = Sequences::of_lengths({4, 0, 2}),
                      .ids_T = at::tensor({9, 1, 9, 3, 1, 4}, at::kLong)};
  EXPECT_TRUE(
      positions_without_padding(tokens, 1).equal(at::tensor({2, 1, 3, 4, 1, 2}, at::kLong)));
  tokens.sequences.first_position = {5, 2, 0};
  EXPECT_TRUE(
      positions_without_padding(tokens, 1).equal(at::tensor({7, 1, 8, 9, 1, 2}, at::kLong)));
}

TEST(EncoderDecoder, WhereThePadIdIsReadItsEmbeddingLearnsNothing) {
  const auto model = make(options(false));
  logits_of(*model, {{{3, 1, 4}, {2, 5}}}).square().sum().backward();
  const Tensor gradient_VD = model->named_parameters()["embedding"].grad();
  EXPECT_EQ(gradient_VD[1].abs().max().item<double>(), 0);
  EXPECT_GT(gradient_VD[3].abs().max().item<double>(), 0);
}

TEST(EncoderDecoder, CountsTheStateOfTheDecoderAlone) {
  const auto model = make_model(ModelSpec(options()));
  const ModelCounts counts = count(*model);
  int64_t total = 0;
  for (const auto& parameter : model->parameters()) total += parameter.numel();
  EXPECT_EQ(counts.total, total);
  // Of four experts one works, in each stack.
  EXPECT_EQ(counts.total - counts.active, 2 * 3 * (2 * 6 * 8));
  // Keys and values of two blocks, of the decoder's text and of the other.
  EXPECT_EQ(counts.state_numbers, 2 * 2 * (2 * 6) * moe::test::pair_model::kContext);
  EXPECT_EQ(model->traits().encoder_layers, 2);
  EXPECT_EQ(model->traits().decoder_start, 2);
}

TEST(EncoderDecoder, RefusesWhatDoesNotFit) {
  const auto model = make(options());
  ModelInputs inputs = inputs_of(pairs());
  inputs.decoder = {};
  EXPECT_ERROR(model->forward(inputs, {}), "tokens for the encoder and for the decoder");
  inputs = inputs_of(pairs());
  inputs.decoder.sequences = Sequences::of_lengths({4, 6});
  EXPECT_ERROR(model->forward(inputs, {}), "as many sequences for the decoder as for the encoder");
  EXPECT_ERROR(logits_of(*model, {{{3}, {13}}}), "vocabulary=13), got 13");
  EXPECT_ERROR(logits_of(*model, {{Ids(17, 3), {2}}}), "context_length=16 positions, got 17");
  auto o = options();
  o.decoder[1].wiring = "sequential";
  EXPECT_ERROR(o.validate("model"), "wiring = \"cross\" in every block of 'model.decoder'");
  o = options();
  o.encoder.clear();
  EXPECT_ERROR(o.validate("model"), "'model.encoder' to describe at least one block");
  o = options();
  o.positions = "learned";
  EXPECT_ERROR(o.validate("model"), "positions");
  o = options();
  o.decoder_start = 13;
  EXPECT_ERROR(o.validate("model"), "'model.decoder_start' in [0, vocabulary=13), got 13");
}

}  // namespace
}  // namespace moe::models::encoder_decoder_test
