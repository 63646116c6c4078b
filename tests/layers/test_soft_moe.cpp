// Soft MoE against another program's numbers, plain loops and central differences. T tokens, D
// width, E experts, P slots of one, F hidden.
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/gelu.h>
#include <ATen/ops/zeros.h>

#include <moe/base/files.h>
#include <moe/experts/expert_options.h>
#include <moe/formats/safetensors.h>
#include <moe/layers/feed_forwards/soft_moe.h>

namespace moe::layers::soft_moe_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::initialised;
using moe::test::normal;
using moe::test::randomise;

SoftMoE options(int64_t experts, int64_t slots, int64_t d_ff) {
  return {.num_experts = experts,
          .slots = slots,
          .expert = FfnExpert{.d_ff = d_ff, .activation = "gelu_tanh", .bias = true}};
}

std::shared_ptr<FeedForward> make(const SoftMoE& o, int64_t d_model) {
  const FeedForwardSpec spec = o;
  auto out = initialised(spec.make(FeedForwardShape{.d_model = d_model}));
  randomise(*out, 3);
  return out;
}

LayerContext of_lengths(const std::vector<int64_t>& lengths) {
  LayerContext context;
  context.tokens.sequences = Sequences::of_lengths(lengths);
  return context;
}

TEST(SoftMoE, GivesTheNumbersOfTheSharedCase) {
  const Path folder = Path(MOE_SHARED_DIR) / "parity" / "soft_moe_layer";
  if (!real_files().exists(folder / "case.json")) GTEST_SKIP() << "no parity case at " << folder;
  const auto given = formats::SafetensorsFile::open(folder / "inputs.safetensors"),
             wanted = formats::SafetensorsFile::open(folder / "expected.safetensors");
  const auto in = [&](const char* name) { return given.tensor(name).to(at::kDouble); };
  const Tensor x_BMD = in("x");
  const int64_t B = x_BMD.size(0), M = x_BMD.size(1), D = x_BMD.size(2);
  const auto layer = make(options(3, 2, 16), D);
  auto ours = layer->named_parameters();
  // Theirs: mu (D, E, P), w1 (E, D, F), w2 (E, F, D).
  const std::map<std::string, std::pair<std::string, Tensor>> theirs = {
      {"mu", {"mu", in("mu").permute({1, 2, 0}).reshape({-1, D})}},
      {"scale", {"scale", in("scale").reshape({1})}},
      {"experts.w_in", {"w1", in("w1").transpose(1, 2)}},
      {"experts.b_in", {"b1", in("b1")}},
      {"experts.w_out", {"w2", in("w2").transpose(1, 2)}},
      {"experts.b_out", {"b2", in("b2")}}};
  ASSERT_EQ(ours.size(), theirs.size());
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, value] : theirs) ours[name].copy_(value.second);
  }
  const Tensor x = x_BMD.reshape({B * M, D}).clone().requires_grad_();
  LayerContext context;
  context.tokens.sequences = Sequences::equal(B, M);
  const Tensor y = layer->forward_tokens(x, context).hidden_TD;
  expect_close(y.view({B, M, D}), wanted.tensor("y"), 1e-9);
  (y * in("r").reshape({B * M, D})).sum().backward();
  expect_close(x.grad().view({B, M, D}), wanted.tensor("grad.x"), 1e-9);
  const auto gradient = [&](const char* name) { return ours[name].grad(); };
  expect_close(gradient("mu").view({3, 2, D}).permute({2, 0, 1}), wanted.tensor("grad.mu"), 1e-9);
  expect_close(gradient("scale").reshape({}), wanted.tensor("grad.scale"), 1e-9);
  expect_close(gradient("experts.w_in").transpose(1, 2), wanted.tensor("grad.w1"), 1e-9);
  expect_close(gradient("experts.b_in"), wanted.tensor("grad.b1"), 1e-9);
  expect_close(gradient("experts.w_out").transpose(1, 2), wanted.tensor("grad.w2"), 1e-9);
  expect_close(gradient("experts.b_out"), wanted.tensor("grad.b2"), 1e-9);
}

TEST(SoftMoE, MixesEachSequenceAlone) {
  const auto layer = make(options(2, 3, 5), 4);
  const Tensor x = normal({12, 4}, 1);
  const std::vector<int64_t> lengths = {5, 0, 1, 6};
  const Tensor together = layer->forward_tokens(x, of_lengths(lengths)).hidden_TD;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    const Tensor alone =
        layer->forward_tokens(x.narrow(0, first, length), of_lengths({length})).hidden_TD;
    expect_close(together.narrow(0, first, length), alone, 1e-12);
    first += length;
  }
  // Equal lengths are one product, with the same numbers.
  LayerContext equal;
  equal.tokens.sequences = Sequences::equal(3, 4);
  expect_close(layer->forward_tokens(x, equal).hidden_TD,
               layer->forward_tokens(x, of_lengths({4, 4, 4})).hidden_TD, 1e-12);
  expect_identical(layer->forward_tokens(x, equal).hidden_TD,
                   layer->forward_tokens(x, equal).hidden_TD);
}

TEST(SoftMoE, OneTokenGetsTheMeanOfAllExperts) {
  // Every slot holds the one token; the combination's weights sum to 1.
  const auto layer = make(options(3, 1, 5), 4);
  const Tensor x = normal({1, 4}, 2);
  auto named = layer->named_parameters();
  const at::NoGradGuard no_grad;
  for (const char* name : {"experts.w_in", "experts.b_in", "experts.w_out", "experts.b_out"})
    named[name].copy_(named[name].narrow(0, 0, 1).expand_as(named[name]).clone());
  const Tensor w_in = named["experts.w_in"][0], w_out = named["experts.w_out"][0];
  const Tensor hidden = at::gelu(x.matmul(w_in.t()) + named["experts.b_in"][0], "tanh");
  expect_close(layer->forward_tokens(x, of_lengths({1})).hidden_TD,
               hidden.matmul(w_out.t()) + named["experts.b_out"][0], 1e-12);
}

TEST(SoftMoE, HasTheGradientsOfCentralDifferences) {
  const auto layer = make(options(2, 2, 3), 3);
  std::vector<Tensor> inputs = {normal({7, 3}, 4)};
  for (const auto& [name, parameter] : moe::test::named_parameters_of(*layer))
    inputs.push_back(parameter);
  expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return layer->forward_tokens(in[0], of_lengths({4, 3})).hidden_TD;
      },
      inputs);
}

TEST(SoftMoE, TakesNoTokens) {
  const auto layer = make(options(2, 2, 3), 3);
  EXPECT_EQ(layer->forward_tokens(at::zeros({0, 3}, at::kDouble), of_lengths({})).hidden_TD.sizes(),
            (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(
      layer->forward_tokens(at::zeros({0, 3}, at::kDouble), of_lengths({0, 0})).hidden_TD.size(0),
      0);
}

TEST(SoftMoE, RefusesCausalModels) {
  const FeedForwardSpec spec = options(2, 2, 3);
  EXPECT_ERROR(spec.make(FeedForwardShape{.d_model = 3, .causal = true}), "not causal");
  EXPECT_ERROR(spec.make(FeedForwardShape{.d_model = 3})->new_state({.capacity = 4}),
               "Evaluate whole sequences");
}

}  // namespace

}  // namespace moe::layers::soft_moe_test
