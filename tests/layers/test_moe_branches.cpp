// Experts that compute no product, norms of the branches and the scale of a MoE layer. T tokens, D
// width, E experts.
#include <tests/reference/moe_layer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/terms.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/moe_layer.h>
#include <moe/parameters/list.h>
#include <moe/routing/routers.h>

namespace moe::layers::moe_branches_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t T = 11, D = 6, E = 3, Z = 2;

MoELayerOptions options() {
  return {.d_model = D, .num_experts = E, .top_k = 2, .expert = {.kind = "gated", .d_ff = 4}};
}

MoELayer make(const MoELayerOptions& o) {
  MoELayer layer(o);
  moe::test::randomise(*layer, 1);
  return layer;
}

Tensor normed(MoELayer& layer, const std::string& name, const Tensor& x_TD) {
  const auto norm = std::dynamic_pointer_cast<NormImpl>(layer->named_children()[name]);
  EXPECT_TRUE(norm) << name;
  return norm->forward(x_TD);
}

/// What expert number z of those that compute no product gives.
Tensor free_expert(MoELayer& layer, int64_t z, const Tensor& x_D) {
  const auto& o = layer->options();
  if (z < o.identity_experts) return x_D;
  z -= o.identity_experts;
  if (z < o.zero_experts) return at::zeros_like(x_D);
  z -= o.zero_experts;
  const auto p = layer->named_parameters();
  const Tensor mix = at::softmax(p["constant_experts.weight"][z].mv(x_D), 0);
  return mix[0] * x_D + mix[1] * p["constant_experts.value"][z];
}

/// The layer token by token, of the routing it reports.
Tensor by_formula(MoELayer& layer, const Tensor& x_TD) {
  const auto& o = layer->options();
  const Routing routing = layer->router().forward(x_TD, {});
  EXPECT_EQ(routing.num_experts,
            o.num_experts + o.identity_experts + o.zero_experts + o.constant_experts);
  const auto before = [&](const std::string& name) {
    return o.branch_norms ? normed(layer, name + "_norm", x_TD) : x_TD;
  };
  const auto behind = [&](const std::string& name, const Tensor& y_TD) {
    return o.branch_norms ? normed(layer, name + "_output_norm", y_TD) : y_TD;
  };
  Tensor y_TD =
      moe::test::reference::mixture(before("expert"), routing, [&](int64_t e, const Tensor& x_D) {
        if (e >= o.num_experts) return free_expert(layer, e - o.num_experts, x_D);
        const Tensor offsets_L = at::arange(o.num_experts + 1, at::kLong).gt(e).to(at::kLong);
        return layer->experts()
            .forward({x_D.unsqueeze(0), {}, offsets_L, at::zeros({1}, at::kLong)}, {})
            .squeeze(0);
      });
  y_TD = behind("expert", y_TD);
  if (const auto shared =
          layer->named_children().contains("shared")
              ? std::dynamic_pointer_cast<FeedForward>(layer->named_children()["shared"])
              : nullptr)
    y_TD = y_TD + behind("shared", shared->forward_tokens(before("shared"), {}).hidden_TD);
  return y_TD * o.output_scale;
}

std::vector<std::pair<std::string, MoELayerOptions>> cases() {
  std::vector<std::pair<std::string, MoELayerOptions>> out;
  for (const bool shared : {false, true})
    for (const bool norms : {false, true})
      for (const std::string router : {"topk", "sigmoid", "gshard", "dense"}) {
        auto o = options();
        o.router.kind = router;
        o.identity_experts = Z;
        o.branch_norms = norms;
        o.output_scale = 0.5;
        if (shared) o.shared = Dense{.d_ff = 5};
        out.emplace_back(concat(router, shared ? ", shared" : "", norms ? ", norms" : ""), o);
      }
  auto o = options();
  o.router = TopKRouter{.weight_on = "input"};
  o.identity_experts = Z;
  out.emplace_back("weight on input", o);
  // MoE++: one zero and one identity expert, some constant ones.
  for (const std::string router : {"topk", "gshard", "dense"}) {
    o = options();
    o.router.kind = router;
    o.identity_experts = 1, o.zero_experts = 1, o.constant_experts = 2;
    out.emplace_back(concat("zero, identity and constant, ", router), o);
  }
  o = options();
  o.constant_experts = 1;
  o.branch_norms = true;
  o.shared = Dense{.d_ff = 5};
  out.emplace_back("constant alone, norms, shared", o);
  return out;
}

TEST(MoEBranches, EqualTheFormula) {
  const Tensor x_TD = normal({T, D}, 3);
  for (const auto& [name, o] : cases()) {
    SCOPED_TRACE(name);
    auto layer = make(o);
    const auto differentiated = [&](const std::function<Tensor(const Tensor&)>& f) {
      layer->zero_grad();
      Tensor x = x_TD.clone().set_requires_grad(true);
      const Tensor y_TD = f(x);
      (y_TD * normal({T, D}, 7)).sum().backward();
      auto out = moe::test::gradients_of(*layer);
      out["x"] = x.grad();
      out["y"] = y_TD.detach();
      return out;
    };
    const auto got = differentiated(
        [&](const Tensor& x) { return layer->forward_tokens(x, LayerContext()).hidden_TD; });
    for (const auto& [key, tensor] :
         differentiated([&](const Tensor& x) { return by_formula(layer, x); }))
      expect_close(got.at(key), tensor, 1e-12, key);
  }
}

TEST(MoEBranches, GradientsEqualCentralDifferences) {
  for (const auto& [name, o] : cases()) {
    SCOPED_TRACE(name);
    auto layer = make(o);
    const Tensor x_TD = normal({T, D}, 3);
    auto tensors = moe::test::named_parameters_of(*layer);
    tensors.emplace_back("x", x_TD);
    expect_directional_gradients(
        [&] {
          return (layer->forward_tokens(x_TD, LayerContext()).hidden_TD * normal({T, D}, 7)).sum();
        },
        tensors);
  }
}

TEST(MoEBranches, ReportAndBalanceCountIdentityExperts) {
  auto o = options();
  o.identity_experts = Z;
  o.balance = {{"switch", 0.1}, {"z_loss", 0.1}};
  auto layer = make(o);
  const MoEOutput out = layer->forward_tokens(normal({T, D}, 3), LayerContext());
  EXPECT_EQ(out.balance.load_E.size(0), E + Z);
  EXPECT_EQ(out.balance.load_E.sum().item<double>(), 2 * T);
  EXPECT_EQ(out.routing.logits_TE.size(1), E + Z);
  expect_identical(out.balance.load_E, out.routing.counts_E().to(at::kDouble));
  EXPECT_EQ(layer->named_parameters()["experts.w_in"].size(0), E) << "they have no parameters";
  EXPECT_DOUBLE_EQ(layer->active_experts(), 2.0 * E / (E + Z));
  const MoEOutput none = layer->forward_tokens(at::zeros({0, D}, at::kDouble), LayerContext());
  EXPECT_EQ(none.hidden_TD.sizes(), (std::vector<int64_t>{0, D}));
}

TEST(MoEBranches, FreeExpertsMayWeighLessInTheBalance) {
  auto o = options();
  o.zero_experts = 1, o.constant_experts = 2;
  o.balance = {SwitchLoss{.coefficient = 1}, SwitchLoss{.coefficient = 1, .free_weight = 0.5}};
  auto layer = make(o);
  const MoEOutput out = layer->forward_tokens(normal({T, D}, 3), LayerContext());
  const Tensor f_E = out.balance.load_E / out.balance.load_E.sum(),
               products_E = f_E * out.routing.scores_TE.mean(0) * 6;
  EXPECT_NEAR(out.balance.terms[0].value.item<double>(), products_E.sum().item<double>(), 1e-12);
  EXPECT_NEAR(out.balance.terms[1].value.item<double>(),
              (products_E.slice(0, 0, 3).sum() + products_E.slice(0, 3).sum() / 2).item<double>(),
              1e-12);
}

TEST(MoEBranches, BalanceCoefficientsOfOtherProgramsBecomeOurs) {
  auto o = options();
  BalanceSpec theirs = SwitchLoss{.coefficient = 0.5};
  theirs.convention = "transformers";
  o.balance = {theirs, SwitchLoss{.coefficient = 0.5}};
  auto layer = make(o);
  const auto coefficients = [&] {
    const auto terms = layer->forward_tokens(normal({T, D}, 3), LayerContext()).balance.terms;
    return std::pair{terms[0].coefficient, terms[1].coefficient};
  };
  EXPECT_EQ(coefficients(), (std::pair{1.0, 0.5})) << "K = 2, one layer";
  layer->among(8);
  EXPECT_EQ(coefficients(), (std::pair{0.125, 0.5}));
}

TEST(MoEBranches, ATokenGetsTheSameBitsAloneAndInABatch) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, o] : cases()) {
    SCOPED_TRACE(name);
    auto layer = make(o);
    layer->to(at::kFloat);
    const Tensor x_TD = normal({T, D}, 3).to(at::kFloat);
    const Tensor all_TD = layer->forward_tokens(x_TD, LayerContext()).hidden_TD;
    for (int64_t t = 0; t < T; ++t)
      expect_identical(layer->forward_tokens(x_TD.slice(0, t, t + 1), LayerContext()).hidden_TD[0],
                       all_TD[t]);
  }
}

TEST(MoEBranches, RefuseWhatMeansNothing) {
  auto o = options();
  o.identity_experts = -1;
  EXPECT_ERROR(MoELayer(MoELayerOptions(o)), "identity_experts of at least 0");
  o.identity_experts = 1;
  o.capacity.factor = 1.5;
  EXPECT_ERROR(MoELayer(MoELayerOptions(o)), "expected no capacity with identity_experts=1");
  o.identity_experts = 0, o.constant_experts = 2;
  EXPECT_ERROR(MoELayer(MoELayerOptions(o)), "expected no capacity with constant_experts=2");
  o = options();
  o.zero_experts = -2;
  EXPECT_ERROR(MoELayer(MoELayerOptions(o)), "zero_experts of at least 0, got -2");
  o = options();
  o.output_scale = std::nan("");
  EXPECT_ERROR(MoELayer(MoELayerOptions(o)), "finite output_scale");
}

}  // namespace

}  // namespace moe::layers::moe_branches_test
