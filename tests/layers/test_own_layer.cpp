// A MoE layer in a user-defined model: shapes, masks, training and seeds as torch::nn's modules
// have them. B batch, S sequence, T tokens, D width, F hidden, E experts.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <ATen/Context.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/moe_layer.h>
#include <moe/routing/routers.h>

namespace moe::layers::own_layer_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t T = 9, D = 6, F = 4;

MoELayerOptions options() {
  return {.d_model = D, .num_experts = 4, .top_k = 2, .expert = {.kind = "gated", .d_ff = F}};
}

TEST(OwnLayer, PaddingGetsNothingAndCountsNowhere) {
  const Tensor x_BSD = normal({3, 3, D}, 3);
  const Tensor mask_BS =
      at::tensor({1, 1, 0, 1, 0, 1, 1, 1, 0}, at::kLong).to(at::kBool).view({3, 3});
  const Tensor real_R = mask_BS.flatten().nonzero().squeeze(1);
  auto o = options();
  o.balance = {{"switch", 1}, {"z_loss", 1}};
  MoELayer layer(o);
  randomise(*layer, 1);
  layer->eval();
  const MoEOutput out = layer(x_BSD, mask_BS);
  const MoEOutput alone =
      layer->forward_tokens(x_BSD.flatten(0, 1).index_select(0, real_R), LayerContext());
  ASSERT_EQ(out.hidden_TD.sizes(), x_BSD.sizes());
  expect_close(out.hidden_TD.flatten(0, 1).index_select(0, real_R), alone.hidden_TD, 1e-14);
  EXPECT_TRUE(
      out.hidden_TD.masked_select(mask_BS.logical_not().unsqueeze(2)).eq(0).all().item<bool>());
  expect_identical(out.balance.load_E, alone.balance.load_E);
  expect_close(out.balance.loss(), alone.balance.loss(), 1e-14);
  EXPECT_EQ(out.balance.tokens.item<double>(), 6);
  EXPECT_EQ(out.balance.dropped.item<double>(), 0);
}

TEST(OwnLayer, NaNInPaddingReachesNoGradient) {
  const Tensor mask_BS = at::tensor({1, 1, 0, 1, 0, 1}, at::kLong).to(at::kBool).view({2, 3});
  const Tensor clean_BSD = normal({2, 3, D}, 3);
  const Tensor x_BSD = clean_BSD.masked_fill(mask_BS.logical_not().unsqueeze(2), std::nan(""));
  for (const std::string& kind : routing::routers().names()) {
    SCOPED_TRACE(kind);
    if (kind == "replay" || kind == "hash") continue;  // need a recording, or ids
    auto o = options();
    o.seed = 1;
    o.router.kind = kind;
    if (kind == "switch" || kind == "base") o.top_k = 1;
    o.balance = {{"switch", 1}};
    const auto gradients = [&](const Tensor& x) {
      MoELayer layer(o);
      randomise(*layer, 1);
      const Tensor in = x.detach().clone().set_requires_grad(true);
      const MoEOutput out = layer(in, mask_BS);
      EXPECT_TRUE(out.hidden_TD.isfinite().all().item<bool>());
      (out.hidden_TD.sum() + out.balance.loss()).backward();
      std::vector<Tensor> found = {in.grad()};
      for (const auto& parameter : layer->parameters())
        if (parameter.grad().defined()) found.push_back(parameter.grad());
      return found;
    };
    const auto expected = gradients(clean_BSD), found = gradients(x_BSD);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) expect_identical(found[i], expected[i]);
  }
}

TEST(OwnLayer, FollowsTorchsHabits) {
  auto o = options();
  at::manual_seed(5);
  const MoELayer first(o), second(o);
  EXPECT_FALSE(first->parameters()[0].equal(second->parameters()[0]))
      << "equal options, two layers";
  at::manual_seed(5);
  const MoELayer again(o);
  expect_identical(again->parameters()[0].detach(), first->parameters()[0].detach());
  o.seed = 3;
  const MoELayer a(o), b(o);
  expect_identical(a->parameters()[0].detach(), b->parameters()[0].detach());

  // Noise differs from call to call in training, and there is none in evaluation.
  o.router = NoisyTopKRouter{};
  MoELayer noisy(o);
  const Tensor x_BSD = normal({2, 5, D}, 3).to(at::kFloat);
  const Tensor one = noisy(x_BSD).hidden_TD, other = noisy(x_BSD).hidden_TD;
  EXPECT_FALSE(one.equal(other));
  noisy->eval();
  expect_identical(noisy(x_BSD).hidden_TD.detach(), noisy(x_BSD).hidden_TD.detach());
}

TEST(OwnLayer, MovesTheSelectionBiasByTheLoadOfTheCallBefore) {
  auto o = options();
  o.router = SigmoidRouter{.bias_rate = 0.1};
  MoELayer layer(o);
  const auto bias_E = [&] { return layer->named_buffers()["router.selection_bias"].clone(); };
  const Tensor x_TD = normal({T, D}, 3).to(at::kFloat);
  const MoEOutput out = layer(x_TD);
  expect_identical(bias_E(), at::zeros({4}));
  layer(x_TD);
  const Tensor load_E = out.balance.load_E;
  expect_close(bias_E(), 0.1 * at::sign(load_E.mean() - load_E).to(at::kFloat), 1e-7);
  const Tensor moved_E = bias_E();
  layer->eval();
  layer(x_TD);
  expect_identical(bias_E(), moved_E, "evaluation moves nothing");
  layer->train();
  layer->end_step(
      {.counts_E = at::tensor({9, 1, 4, 4}, at::kLong)});  // told: nothing waits any more
  const Tensor told_E = bias_E();
  layer(x_TD);
  expect_identical(bias_E(), told_E);
}

TEST(OwnLayer, ServesAForeignProgramAsTheDocumentsSay) {
  moe::MoELayer layer(moe::MoELayerOptions{.d_model = 16,
                                           .num_experts = 8,
                                           .top_k = 2,
                                           .router = {.kind = "topk"},
                                           .expert = {.kind = "gated", .d_ff = 8},
                                           .balance = {{"switch", 0.01}, {"z_loss", 1e-3}}});
  const Tensor x_TD = normal({32, 16}, 3).to(at::kFloat);
  const moe::MoEOutput out = layer->forward(x_TD);
  const Tensor loss = out.hidden_TD.square().mean() + out.balance.loss();
  loss.backward();
  EXPECT_EQ(out.hidden_TD.scalar_type(), at::kFloat);
  EXPECT_EQ(out.balance.load_E.sum().item<double>(), 64);
  EXPECT_EQ(out.balance.dropped.item<double>(), 0);
  ASSERT_EQ(out.balance.terms.size(), 2u);
  EXPECT_NEAR(out.balance.loss().item<double>(),
              0.01 * out.balance.terms[0].value.item<double>() +
                  1e-3 * out.balance.terms[1].value.item<double>(),
              1e-9);
}

}  // namespace

}  // namespace moe::layers::own_layer_test
