// The MoE layer against dense blocks, a layer that goes token by token, and itself.
// T tokens, D width, F hidden, E experts, K choices.
#include <set>
#include <tests/reference/moe_layer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/moe_layer.h>
#include <moe/routing/replay.h>
#include <moe/routing/routers.h>

namespace moe::layers::moe_layer_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::gradients_of;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;
using moe::test::reference::dense_block;
using moe::test::reference::mixture;

constexpr int64_t T = 9, D = 6, F = 4;

MoELayerOptions small(int64_t E = 4, int64_t K = 2) {
  return {.d_model = D, .num_experts = E, .top_k = K, .expert = {.kind = "gated", .d_ff = F}};
}

MoELayer make(const MoELayerOptions& options, double std = 0.5) {
  MoELayer layer(options);
  randomise(*layer, 1, std);
  return layer;
}

Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

struct Differentiated {
  Tensor y_TD, dx_TD;
  std::map<std::string, Tensor> gradients;
};

/// Output and all gradients of sum(y * coefficients).
template <class Function>
Differentiated differentiate(torch::nn::Module& module, const Tensor& x_TD, Function function) {
  module.zero_grad();
  Tensor x = x_TD.clone().set_requires_grad(true);
  const Tensor y_TD = function(x);
  (y_TD * normal(y_TD.sizes(), 77)).sum().backward();
  return {y_TD.detach(), x.grad(), gradients_of(module)};
}

void expect_same(const Differentiated& got, const Differentiated& expected, double tolerance) {
  expect_close(got.y_TD, expected.y_TD, tolerance, "y");
  expect_close(got.dx_TD, expected.dx_TD, tolerance, "dx");
  for (const auto& [name, gradient] : expected.gradients)
    expect_close(got.gradients.at(name), gradient, tolerance, name);
}

TEST(MoELayer, OneExpertOfWeightOneIsTheDenseBlock) {
  for (const std::string kind : {"gated", "ffn"}) {
    SCOPED_TRACE(kind);
    auto o = small(1, 1);
    o.expert = {.kind = kind, .d_ff = F, .options = with("bias", true)};
    auto layer = make(o);
    const FeedForwardSpec dense = Dense{.d_ff = F, .form = kind, .bias = true};
    const auto block = dense.make(FeedForwardShape{.d_model = D});
    randomise(*block, 2);
    {
      const at::NoGradGuard no_grad;
      const auto of_layer = layer->named_parameters();
      for (auto& item : block->named_parameters())
        item.value().copy_(of_layer["experts." + item.key()][0]);
    }
    const Tensor x_TD = normal({T, D}, 3);
    const auto got = differentiate(*layer, x_TD, [&](const Tensor& x) {
      return layer->forward_tokens(x, LayerContext()).hidden_TD;
    });
    const auto expected = differentiate(
        *block, x_TD, [&](const Tensor& x) { return block->forward_tokens(x, {}).hidden_TD; });
    expect_close(got.y_TD, expected.y_TD, 1e-13);
    expect_close(got.dx_TD, expected.dx_TD, 1e-13);
    for (const auto& [name, gradient] : expected.gradients)
      expect_close(got.gradients.at("experts." + name)[0], gradient, 1e-13, name);
  }
}

/// Softmax top-k by hand, then every token's experts one by one.
Tensor token_by_token(MoELayerImpl& layer, const Tensor& x_TD, bool with_shared) {
  const auto& o = layer.options();
  const auto p = layer.named_parameters();
  const bool gated = o.expert.kind == "gated";
  const auto act = gated ? ops::Activation::kSilu : ops::Activation::kGelu;
  Routing routing;
  routing.num_experts = o.num_experts;
  routing.offsets = at::arange(x_TD.size(0) + 1, at::kLong) * o.top_k;
  std::vector<Tensor> weights;
  std::vector<int64_t> chosen;
  for (int64_t t = 0; t < x_TD.size(0); ++t) {
    const Tensor scores_E = at::matmul(p["router.weight"], x_TD[t]).softmax(0);
    const Tensor best_K =
        scores_E.detach().argsort(/*stable=*/true, 0, /*descending=*/true).slice(0, 0, o.top_k);
    const Tensor kept_K = scores_E.index_select(0, best_K);
    weights.push_back(kept_K / kept_K.sum());
    for (int64_t k = 0; k < o.top_k; ++k) chosen.push_back(best_K[k].item<int64_t>());
  }
  routing.experts_N = at::tensor(chosen, at::kLong);
  routing.weights_N = at::cat(weights);
  Tensor y_TD = mixture(x_TD, routing, [&](int64_t e, const Tensor& x_D) {
    return dense_block(x_D, p["experts.w_in"][e], {}, p["experts.w_out"][e], {}, act, gated);
  });
  if (!with_shared) return y_TD;
  Tensor shared_TD =
      dense_block(x_TD, p["shared.w_in"], {}, p["shared.w_out"], {}, ops::Activation::kSilu, true);
  if (p.contains("shared.w_gate"))
    shared_TD = at::sigmoid(at::matmul(x_TD, p["shared.w_gate"].t())) * shared_TD;
  return y_TD + shared_TD;
}

TEST(MoELayer, EqualsALayerThatGoesTokenByToken) {
  const Tensor x_TD = normal({T, D}, 3);
  for (const std::string kind : {"gated", "ffn"})
    for (const int64_t K : {1, 2, 5})
      for (const Dense& shared : {Dense{}, Dense{.d_ff = 3}, Dense{.d_ff = 3, .gate = true}}) {
        SCOPED_TRACE(
            concat(kind, ", K=", K, ", shared ", shared.d_ff, shared.gate ? " gated" : ""));
        auto o = small(5, K);
        o.expert.kind = kind;
        if (shared.d_ff > 0) o.shared = shared;
        auto layer = make(o);
        const auto got = differentiate(*layer, x_TD, [&](const Tensor& x) {
          return layer->forward_tokens(x, LayerContext()).hidden_TD;
        });
        const auto expected = differentiate(*layer, x_TD, [&](const Tensor& x) {
          return token_by_token(*layer, x, shared.d_ff > 0);
        });
        expect_same(got, expected, 1e-12);
      }
}

/// Every registered router with every registered expert, on options that all of them take.
void for_all_kinds(const std::function<void(MoELayer&)>& test) {
  for (const auto& router : routing::routers().names())
    for (const auto& expert : experts::expert_kinds().names()) {
      SCOPED_TRACE(router + " x " + expert);
      auto o = small();
      o.router.kind = router;
      if (router == "token_rounding") o.router.options.set("tile", 1);  // of so few tokens
      o.expert.kind = expert;
      o.balance = {{"switch", 0.01}, {"z_loss", 1e-3}};
      try {
        routing::routers().at(router).make({.d_model = D, .num_experts = 4, .top_k = 2}, {});
      } catch (const ConfigError&) {
        o.top_k = 1;
      }
      auto layer = make(o);
      if (auto* replay = dynamic_cast<routing::Replay*>(&layer->router()))
        replay->set_assignment(at::arange(40, at::kLong).remainder(4).view({20, 2}),
                               at::full({20, 2}, 0.5, at::kDouble));
      test(layer);
    }
}

TEST(MoELayer, EveryRouterWithEveryExpertEqualsTheMixtureOfItsRouting) {
  const Tensor x_TD = normal({T, D}, 3);
  for_all_kinds([&](MoELayer& layer) {
    const MoEOutput out = layer->forward_tokens(x_TD, LayerContext());
    const auto& shape = layer->experts().shape();
    const Tensor expected_TD = mixture(x_TD, out.routing, [&](int64_t e, const Tensor& x_D) {
      const Tensor offsets_L = at::arange(shape.num_experts + 1, at::kLong).gt(e).to(at::kLong);
      return layer->experts()
          .forward({x_D.unsqueeze(0), {}, offsets_L, at::zeros({1}, at::kLong)}, {})
          .squeeze(0);
    });
    expect_close(out.hidden_TD, expected_TD, 1e-12);
    expect_identical(out.balance.load_E, out.routing.counts_E().to(at::kDouble));
  });
}

TEST(MoELayer, EveryRouterWithEveryExpertTrains) {
  for_all_kinds([&](MoELayer& layer) {
    Tensor x_TD = normal({T, D}, 3).set_requires_grad(true);
    LayerContext context;
    context.training = true;
    const MoEOutput out = layer->forward_tokens(x_TD, context);
    ASSERT_EQ(out.hidden_TD.sizes(), x_TD.sizes());
    (out.hidden_TD.square().sum() + out.balance.loss()).backward();
    EXPECT_TRUE(x_TD.grad().isfinite().all().item<bool>());
    for (const auto& item : layer->named_parameters()) {
      ASSERT_TRUE(item.value().grad().defined()) << item.key();
      EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
      // That of the layer before, which a layer on its own has not.
      if (item.key() == "router.residual_weight") continue;
      EXPECT_GT(item.value().grad().abs().sum().item<double>(), 0) << item.key();
    }
  });
}

TEST(MoELayer, EveryRouterWithEveryExpertTakesNoTokenAndOne) {
  for_all_kinds([&](MoELayer& layer) {
    const Tensor x_TD = normal({T, D}, 3);
    const MoEOutput none = layer->forward_tokens(x_TD.slice(0, 0, 0), LayerContext());
    EXPECT_EQ(none.hidden_TD.sizes(), (std::vector<int64_t>{0, D}));
    EXPECT_EQ(none.balance.loss().item<double>(), 0);
    (none.hidden_TD.sum() + none.balance.loss()).backward();
    const MoEOutput one = layer->forward_tokens(x_TD.slice(0, 0, 1), LayerContext());
    EXPECT_TRUE(one.hidden_TD.isfinite().all().item<bool>());
  });
}

TEST(MoELayer, GradientsEqualCentralDifferences) {
  auto o = small(4, 2);
  o.shared = Dense{.d_ff = 3, .gate = true};
  o.expert.options = with("bias", true);
  o.balance = {{"switch", 0.5}, {"z_loss", 0.1}};
  auto layer = make(o);
  // A router far from ties: a finite difference must not change who is chosen.
  ops::fill_normal_(layer->named_parameters()["router.weight"], RandomStream(4, "far"), 3);
  Tensor x_TD = normal({5, D}, 3);
  auto inputs = named_parameters_of(*layer);
  inputs.emplace_back("x", x_TD);
  expect_directional_gradients(
      [&] {
        const MoEOutput out = layer->forward_tokens(x_TD, LayerContext());
        return (out.hidden_TD * normal({5, D}, 5)).sum() + out.balance.loss();
      },
      inputs);
}

TEST(MoELayer, OneExpertMayTakeEveryTokenAndTiesGoToTheLowestIds) {
  auto o = small(4, 2);
  o.balance = {{"switch", 1}};
  auto layer = make(o);
  const at::NoGradGuard no_grad;
  Tensor router_ED = layer->named_parameters()["router.weight"];
  router_ED.zero_();
  const Tensor x_TD = normal({T, D}, 3).abs();
  expect_identical(layer->forward_tokens(x_TD, LayerContext()).balance.load_E,
                   at::tensor({9.0, 9.0, 0.0, 0.0}, at::kDouble));
  router_ED[3].fill_(5);
  const MoEOutput out = layer->forward_tokens(x_TD, LayerContext());
  expect_identical(out.balance.load_E, at::tensor({9.0, 0.0, 0.0, 9.0}, at::kDouble));
  EXPECT_TRUE(out.routing.experts_N.view({T, 2}).select(1, 0).eq(3).all().item<bool>());
  expect_close(out.hidden_TD, token_by_token(*layer, x_TD, false), 1e-12);
}

TEST(MoELayer, ComputesInBfloat16WhereAskedAndKeepsTheRouterWide) {
  auto o = small();
  o.shared = Dense{.d_ff = 3, .gate = true};
  MoELayer layer(o);
  const Tensor x_TD = normal({T, D}, 3).to(at::kFloat);
  LayerContext context;
  const MoEOutput wide = layer->forward_tokens(x_TD, context);
  context.compute = at::kBFloat16;
  const MoEOutput narrow = layer->forward_tokens(x_TD, context);
  EXPECT_EQ(narrow.hidden_TD.scalar_type(), at::kFloat);
  expect_identical(narrow.routing.logits_TE, wide.routing.logits_TE);
  expect_close(narrow.hidden_TD, wide.hidden_TD, 0.03);
  EXPECT_EQ(layer->forward_tokens(x_TD.to(at::kBFloat16), LayerContext()).hidden_TD.scalar_type(),
            at::kBFloat16);
}

TEST(MoELayer, DropoutDependsOnTheTokensGlobalNumber) {
  auto o = small();
  o.expert.options = with("dropout", 0.5);
  auto layer = make(o);
  LayerContext context;
  context.training = true;
  context.random = {.seed = 4, .step = 1};
  const Tensor x_TD = normal({T, D}, 3);
  const Tensor whole_TD = layer->forward_tokens(x_TD, context).hidden_TD;
  context.tokens.first_token = 4;
  expect_close(layer->forward_tokens(x_TD.slice(0, 4), context).hidden_TD, whole_TD.slice(0, 4),
               1e-14);
  EXPECT_FALSE(layer->forward_tokens(x_TD, context).hidden_TD.equal(whole_TD));
}

TEST(MoELayer, CountsItsMultiplications) {
  auto o = small(4, 2);
  EXPECT_EQ(make(o)->flops_per_token(), 2 * (D * 4 + 2 * 3 * D * F));
  o.shared = Dense{.d_ff = 5, .gate = true};
  EXPECT_EQ(make(o)->flops_per_token(), 2 * (D * 4 + 2 * 3 * D * F + 3 * D * 5 + D));
  auto dense = small(4, 2);
  dense.router.kind = "dense";  // every expert, whatever top_k says
  EXPECT_EQ(make(dense)->flops_per_token(), 2 * (D * 4 + 4 * 3 * D * F));
}

TEST(MoELayer, RefusesWhatItCannotBuildOrTake) {
  EXPECT_ERROR(make(small())(normal({2, D + 1}, 1)), "expected x of shape (…, D=6)");
  EXPECT_ERROR(make(small())->forward_tokens(normal({2, 3, D}, 1), LayerContext()),
               "expected x of shape (T, D=6)");
  EXPECT_ERROR(make(small())(normal({2, 3, D}, 1), at::ones({2, 4}, at::kBool)),
               "a mask of type Bool");
  EXPECT_ERROR(make(small(4, 5)), "top_k in [1, num_experts=4], got 5");
  auto o = small();
  o.router.kind = "topkk";
  EXPECT_ERROR(make(o), "Did you mean 'topk'?");
  o = small();
  o.router.options = with("temprature", 2.0);
  EXPECT_ERROR(make(o), "temprature");
  o = small();
  o.balance = {{"swich", 0.1}};
  EXPECT_ERROR(make(o), "Did you mean 'switch'?");
  o = small();
  o.d_model = 0;
  EXPECT_ERROR(make(o), "d_model");
  o = small();
  o.init.scheme = "fanin";
  EXPECT_ERROR(make(o), "Did you mean 'fan_in'?");
}

}  // namespace

}  // namespace moe::layers::moe_layer_test
