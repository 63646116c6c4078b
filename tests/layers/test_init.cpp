// How parameters start and norms and dense blocks. E experts, D width, F hidden.
#include <cmath>
#include <tests/reference/moe_layer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/zeros.h>

#include <moe/layers/dropout.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/moe_layer.h>
#include <moe/layers/norm.h>
#include <moe/parallel/threads.h>
#include <moe/parameters/initialise.h>

namespace moe::layers::init_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t E = 4, D = 64, F = 96;

MoELayerOptions options(const std::string& scheme, double scale = 1, int64_t seed = 0) {
  Table bias;
  bias.set("bias", true);
  return {.d_model = D,
          .num_experts = E,
          .top_k = 2,
          .expert = {.kind = "gated", .d_ff = F, .options = bias},
          .init = {.scheme = scheme, .scale = scale, .std = 0.07, .router_std = 0.3},
          .seed = seed};
}

/// Mean 0 and the given deviation, within five standard errors.
void expect_spread(const Tensor& values, double std, const std::string& what) {
  const auto n = static_cast<double>(values.numel());
  EXPECT_NEAR(values.mean().item<double>(), 0, 5 * std / std::sqrt(n)) << what;
  EXPECT_NEAR(values.std().item<double>() / std, 1, 5 / std::sqrt(2 * n)) << what;
}

TEST(Initialise, EveryExpertHasItsOwnNumbersOfTheSchemesSpread) {
  struct Case {
    std::string scheme;
    double scale;
    double in, out;
  };
  // A normal cut at two standard deviations keeps 0.8796 of its spread.
  const double cut = 0.87962566;
  for (const auto& [scheme, scale, in, out] :
       {Case{"fan_in", 0.5, 0.5 / std::sqrt(D), 0.5 / std::sqrt(F)}, Case{"normal", 1, 0.07, 0.07},
        Case{"truncated_normal", 0.1, cut * std::sqrt(0.1 / D), cut * std::sqrt(0.1 / F)},
        Case{"xavier_uniform", 1, std::sqrt(2.0 / (D + 2 * F)), std::sqrt(2.0 / (F + D))},
        Case{"kaiming_normal", 1, std::sqrt(2.0 / D), std::sqrt(2.0 / F)}}) {
    SCOPED_TRACE(scheme);
    const MoELayer layer(options(scheme, scale));
    const auto p = layer->named_parameters();
    for (int64_t e = 0; e < E; ++e) {
      expect_spread(p["experts.w_in"][e], in, concat("w_in of expert ", e));
      expect_spread(p["experts.w_out"][e], out, concat("w_out of expert ", e));
      for (int64_t other = 0; other < e; ++other)
        EXPECT_FALSE(p["experts.w_in"][e].equal(p["experts.w_in"][other]));
    }
    if (scheme == "truncated_normal") {
      EXPECT_LE(p["experts.w_in"].abs().max().item<double>(), 2 * std::sqrt(0.1 / D) * 1.0001);
    }
    EXPECT_TRUE(p["experts.b_in"].eq(0).all().item<bool>());
    EXPECT_TRUE(p["experts.b_out"].eq(0).all().item<bool>());
    expect_spread(p["router.weight"], 0.3, "router");
  }
}

TEST(Initialise, TheSeedDecides) {
  const auto weight = [](int64_t seed) {
    return MoELayer(options("fan_in", 1, seed))->named_parameters()["experts.w_in"].detach();
  };
  expect_identical(weight(3), weight(3));
  EXPECT_FALSE(weight(3).equal(weight(4)));
}

TEST(Initialise, ParametersAreTheSameWhateverTheNumberOfRanks) {
  for (const std::string scheme : {"fan_in", "truncated_normal", "xavier_uniform"}) {
    const MoELayer whole(options(scheme));
    const auto all = whole->named_parameters();
    parallel::run_ranks(2, [&](const std::shared_ptr<parallel::Communicator>& group) {
      auto o = options(scheme);
      o.dispatcher = "all_to_all";
      const MoELayer shard(o, group);
      const int64_t first = group->rank() * E / 2;
      for (const auto& item : shard->named_parameters()) {
        const bool sharded = item.key().rfind("experts.", 0) == 0;
        expect_identical(item.value().detach(),
                         sharded ? all[item.key()].detach().slice(0, first, first + E / 2)
                                 : all[item.key()].detach(),
                         item.key());
      }
    });
  }
}

TEST(Initialise, MatricesIntoTheResidualStreamShrinkWithDepth) {
  MoELayer plain(options("fan_in")), deep(options("fan_in"));
  initialise(*plain, options("fan_in").init, 0, 0);
  initialise(*deep, options("fan_in").init, 0, 8);
  const auto p = plain->named_parameters(), q = deep->named_parameters();
  expect_close(q["experts.w_out"] * 4, p["experts.w_out"], 1e-6);
  expect_identical(q["experts.w_in"].detach(), p["experts.w_in"].detach());
}

TEST(Initialise, AnUnknownSchemeIsRefused) {
  EXPECT_ERROR(MoELayer(options("xavier")), "expected init.scheme to be one of");
}

TEST(Norm, LayerNormEqualsItsFormulaAndHasItsGradients) {
  Norm norm("layernorm", 5, 1e-5);
  randomise(*norm, 1);
  const Tensor x = normal({2, 3, 5}, 2), centred = x - x.mean(-1, true);
  const auto p = norm->named_parameters();
  expect_close(norm(x),
               centred / (centred.square().mean(-1, true) + 1e-5).sqrt() * p["scale"] + p["bias"],
               1e-13);
  std::vector<Tensor> inputs = {x};
  for (const Tensor& parameter : norm->parameters()) inputs.push_back(parameter);
  expect_gradients([&](const auto& in) { return norm(in[0]); }, inputs);
}

TEST(Norm, StartsAsOneAndGivesFloat32ForNarrowTypes) {
  for (const std::string kind : {"rmsnorm", "layernorm"}) {
    Norm norm(kind, 8, 1e-5);
    initialise(*norm, {}, 0);
    const Tensor y = norm(normal({3, 8}, 2).to(at::kBFloat16));
    EXPECT_EQ(y.scalar_type(), at::kFloat);
    EXPECT_NEAR(y.square().mean().item<double>(), 1, 0.2);
    EXPECT_EQ(norm(at::zeros({0, 8})).sizes(), (std::vector<int64_t>{0, 8}));
  }
  EXPECT_ERROR(Norm("rms", 8, 1e-5), "rmsnorm");
}

TEST(Dense, EqualsItsFormulaAndHasItsGradients) {
  const Tensor x_TD = normal({4, 6}, 2);
  for (const std::string form : {"gated", "ffn"})
    for (const bool gate : {false, true}) {
      const FeedForwardSpec spec =
          Dense{.d_ff = 3, .form = form, .activation = "relu", .bias = true, .gate = gate};
      const auto block = spec.make(FeedForwardShape{.d_model = 6});
      randomise(*block, 1);
      const auto p = block->named_parameters();
      Tensor expected =
          moe::test::reference::dense_block(x_TD, p["w_in"], p["b_in"], p["w_out"], p["b_out"],
                                            ops::Activation::kRelu, form == "gated");
      if (gate) expected = expected * at::sigmoid(at::matmul(x_TD, p["w_gate"].t()));
      expect_close(block->forward_tokens(x_TD, {}).hidden_TD, expected, 1e-13);
      std::vector<Tensor> inputs = {x_TD.clone()};
      for (const Tensor& parameter : block->parameters()) inputs.push_back(parameter);
      expect_gradients([&](const auto& in) { return block->forward_tokens(in[0], {}).hidden_TD; },
                       inputs);
    }
  const auto make = [](const Dense& dense, int64_t d_model) {
    return FeedForwardSpec(dense).make(FeedForwardShape{.d_model = d_model});
  };
  EXPECT_ERROR(make({.d_ff = 3, .form = "glu"}, 6), "form");
  EXPECT_ERROR(make({.d_ff = -3}, 6), "at least 0");
  EXPECT_ERROR(make({.d_ff = 3}, 0), "above 0");
}

TEST(Dropout, ScalesUpWhatItKeepsAndFollowsTheTokensNumber) {
  LayerContext context;
  const Tensor x_TD = normal({50, 40}, 2);
  expect_identical(dropout(x_TD, 0.25, context, 1), x_TD);
  context.training = true;
  const Tensor y_TD = dropout(x_TD, 0.25, context, 1);
  const Tensor kept_TD = y_TD.ne(0);
  EXPECT_NEAR(kept_TD.to(at::kDouble).mean().item<double>(), 0.75, 0.05);
  expect_close(y_TD, x_TD * kept_TD / 0.75, 1e-14);
  EXPECT_FALSE(dropout(x_TD, 0.25, context, 2).equal(y_TD));
  context.tokens.first_token = 20;
  expect_identical(dropout(x_TD.slice(0, 20), 0.25, context, 1), y_TD.slice(0, 20));
}

}  // namespace

}  // namespace moe::layers::init_test
