// Coefficients of other programs, against the losses of these by loops. T tokens, E experts, K
// choices per token.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>

#include <moe/balance/convert.h>
#include <moe/balance/terms.h>

namespace moe::balance::conventions_test {

namespace {

using namespace moe::test::balance;

double p_of(const Routing& routing, int64_t t, int64_t e) {
  return routing.scores_TE[t][e].item<double>();
}

/// Times that token t's choice number k is e; of all choices for k = -1.
double chosen(const Routing& routing, int64_t t, int64_t e, int64_t k = -1) {
  double out = 0;
  for (int64_t j = 0; j < routing.choices; ++j)
    if (k < 0 || j == k) out += routing.experts_N[t * routing.choices + j].item<int64_t>() == e;
  return out;
}

double mean_over_tokens(const Routing& routing, const std::function<double(int64_t)>& of) {
  double out = 0;
  for (int64_t t = 0; t < routing.tokens(); ++t)
    out += of(t) / static_cast<double>(routing.tokens());
  return out;
}

/// sum_e mean_t [chosen] * mean_t p: what all of them have in common.
double products(const Routing& routing, int64_t k = -1) {
  double out = 0;
  for (int64_t e = 0; e < routing.num_experts; ++e)
    out += mean_over_tokens(routing, [&](int64_t t) { return chosen(routing, t, e, k); }) *
           mean_over_tokens(routing, [&](int64_t t) { return p_of(routing, t, e); });
  return out;
}

double z_of(const Routing& routing) {
  return mean_over_tokens(routing, [&](int64_t t) {
    const double z = std::log(routing.logits_TE[t].exp().sum().item<double>());
    return z * z;
  });
}

/// Our loss of one layer with a coefficient of `convention`, in a model of `layers` such layers.
double ours(const std::string& convention, const std::string& kind, const Routing& routing,
            double coefficient, int64_t layers, const Table& options = {}) {
  BalanceSpec spec{kind, coefficient, options, convention};
  const TermShape shape = {.num_experts = routing.num_experts, .top_k = routing.choices};
  return spec.own_coefficient(shape, layers) * value_of(*spec.make(shape), routing).item<double>();
}

constexpr double E = kExperts, kCoefficient = 0.02;

TEST(Conventions, TransformersAndFlaxformerTakeTheMeanOverLayersAndDoNotDivideByK) {
  // Two layers: the mean of losses that each are E sum_e (sum over choices of f) P_e. transformers'
  // load_balancing_loss_func joins the layers' tokens first, which is the same for equal layers.
  const Routing a = routing_of(logits_of(1)), b = routing_of(logits_of(2));
  for (const std::string convention : {"transformers", "flaxformer"}) {
    const double theirs = kCoefficient * E * (products(a) + products(b)) / 2;
    EXPECT_NEAR(ours(convention, "switch", a, kCoefficient, 2) +
                    ours(convention, "switch", b, kCoefficient, 2),
                theirs, 1e-12);
    EXPECT_NEAR(ours(convention, "z_loss", a, kCoefficient, 2) +
                    ours(convention, "z_loss", b, kCoefficient, 2),
                kCoefficient * (z_of(a) + z_of(b)) / 2, 1e-12);
  }
  const Tensor twice = at::cat({a.logits_TE, a.logits_TE});
  EXPECT_NEAR(2 * ours("transformers", "switch", a, kCoefficient, 2),
              kCoefficient * E * products(routing_of(twice)), 1e-12);
}

TEST(Conventions, MegatronDividesByKAndAddsLayersUp) {
  // switch_load_balancing_loss_func: sum_e (sum_t p) tokens_e * E coefficient / (K T^2).
  const Routing routing = routing_of(logits_of(3));
  double theirs = 0;
  for (int64_t e = 0; e < kExperts; ++e) {
    double p = 0, tokens = 0;
    for (int64_t t = 0; t < kTokens; ++t) p += p_of(routing, t, e), tokens += chosen(routing, t, e);
    theirs += p * tokens * E * kCoefficient / (kChoices * kTokens * kTokens);
  }
  EXPECT_NEAR(ours("megatron", "switch", routing, kCoefficient, 7), theirs, 1e-12);
  EXPECT_NEAR(ours("megatron", "sequence", routing, kCoefficient, 7), theirs, 1e-12)
      << "of one sequence";
  EXPECT_NEAR(ours("megatron", "z_loss", routing, kCoefficient, 7), kCoefficient * z_of(routing),
              1e-12);
}

TEST(Conventions, DeepSpeedCountsTheFirstChoiceOfTwoAndAllOfMore) {
  // top2gating: mean_e(me ce) E^2 with ce of the first choice; topkgating: over K as well.
  const Routing two = routing_of(logits_of(4), 2), three = routing_of(logits_of(4), 3),
                one = routing_of(logits_of(4), 1);
  EXPECT_NEAR(ours("deepspeed", "switch", two, kCoefficient, 7, setting("counts", "first")),
              kCoefficient * products(two, 0) / E * E * E, 1e-12);
  EXPECT_NEAR(ours("deepspeed", "switch", three, kCoefficient, 7),
              kCoefficient * products(three) / E * E * E / 3, 1e-12);
  EXPECT_NEAR(ours("deepspeed", "switch", one, kCoefficient, 7), kCoefficient * products(one) * E,
              1e-12);
  EXPECT_ERROR(ours("deepspeed", "switch", two, kCoefficient, 7),
               "expected counts = \"first\" with convention = \"deepspeed\" and top_k=2");
  EXPECT_ERROR(ours("deepspeed", "switch", three, kCoefficient, 7, setting("counts", "first")),
               "Set counts = \"all\"");
}

TEST(Conventions, TutelMeshTensorFlowAndGShardCountFirstChoices) {
  const Routing routing = routing_of(logits_of(5));
  const Table first = setting("counts", "first");
  // gshard_loss: sum_e (sum_t p) (sum_t first) * E / T^2; _top_2_gating: mean_e(proxy density) E^2.
  const double shared = kCoefficient * E * products(routing, 0);
  EXPECT_NEAR(ours("tutel", "switch", routing, kCoefficient, 7, first), shared, 1e-12);
  EXPECT_NEAR(ours("mesh_tensorflow", "switch", routing, kCoefficient, 7, first), shared, 1e-12);
  EXPECT_NEAR(ours("mesh_tensorflow", "z_loss", routing, kCoefficient, 7),
              kCoefficient * z_of(routing), 1e-12);
  // The paper: l_aux = 1/E sum_e c_e/S m_e.
  EXPECT_NEAR(ours("gshard", "switch", routing, kCoefficient, 7, first),
              kCoefficient * products(routing, 0) / E, 1e-12);
}

TEST(Conventions, TutelHalvesImportanceAndTakesTheSampleVariance) {
  const Routing routing = routing_of(logits_of(6));
  const Tensor importance_E = routing.scores_TE.sum(0);
  const double theirs =
      importance_E.var().item<double>() / std::pow(importance_E.mean().item<double>(), 2) / 2;
  EXPECT_NEAR(ours("tutel", "importance", routing, kCoefficient, 7), kCoefficient * theirs, 1e-12);
}

TEST(Conventions, FirstChoicesLeaveTokensWithoutOneOut) {
  Routing routing = routing_of(logits_of(10, 3));
  routing.choices = 0;
  routing.offsets = at::tensor({0, 3, 3, 6}, at::kLong);
  routing.experts_N = at::tensor({0, 1, 2, 3, 2, 0}, at::kLong);
  const double value =
      value_of(*make("switch", setting("counts", "first")), routing).item<double>();
  const Tensor p_E = routing.scores_TE.mean(0);
  EXPECT_NEAR(value, E * (p_E[0] + p_E[3]).item<double>() / 2, 1e-12);
}

TEST(Conventions, RefuseTermsThatTheProgramDoesNotHave) {
  const Routing routing = routing_of(logits_of(6));
  EXPECT_ERROR(ours("transformers", "entropy", routing, 1, 1),
               "expected a term that transformers has, got 'entropy'");
  EXPECT_ERROR(ours("tutel", "load", routing, 1, 1), "Set convention = \"own\"");
  EXPECT_ERROR(ours("gshard", "z_loss", routing, 1, 1), "expected a term that gshard has");
  EXPECT_ERROR(ours("megatron", "z_loss", routing, 1, 1, setting("form", "plain")),
               "expected form = \"logsumexp\"");
  EXPECT_ERROR(ours("fairseq", "switch", routing, 1, 1), "convention");
  BalanceSpec spec{"switch", 0.1, {}, "megatorn"};
  EXPECT_ERROR(spec.validate("model.moe.balance[0]"), "Did you mean 'megatron'?");
  EXPECT_EQ(ours("own", "entropy", routing, 2, 5),
            2 * value_of(*make("entropy"), routing).item<double>());
}

TEST(SwitchTerm, WeighsByCostAndFreeExpertsLess) {
  const Routing routing = routing_of(logits_of(7));
  const std::vector<double> costs = {0.5, 0.5, 1, 2};
  const auto weighted = [&](const Table& settings, const TermShape& shape,
                            const std::vector<double>& weights, const LayerContext& context = {}) {
    const auto term = terms().at("switch").make(shape, settings);
    double expected = 0;
    for (int64_t e = 0; e < kExperts; ++e)
      expected += E * weights[static_cast<size_t>(e)] *
                  mean_over_tokens(routing, [&](int64_t t) { return chosen(routing, t, e); }) /
                  kChoices *
                  mean_over_tokens(routing, [&](int64_t t) { return p_of(routing, t, e); });
    EXPECT_NEAR(value_of(*term, routing, context).item<double>(), expected, 1e-12);
    return term->value_at_balance();
  };
  TermShape shape = {.num_experts = kExperts, .top_k = kChoices, .costs = costs, .free_experts = 2};
  EXPECT_DOUBLE_EQ(weighted({}, shape, {1, 1, 1, 1}), 1);
  EXPECT_DOUBLE_EQ(weighted(setting("free_weight", 0.75), shape, {1, 1, 0.75, 0.75}), 0.875);
  shape.free_experts = 0;
  EXPECT_DOUBLE_EQ(weighted(setting("by_cost", true), shape, costs), 1);
  Table by_row = setting("by_cost", true);
  by_row.set("scope", "sequence");
  weighted(by_row, shape, costs, rows_of({kTokens}));
  shape.costs.clear();
  EXPECT_DOUBLE_EQ(weighted(setting("by_cost", true), shape, {1, 1, 1, 1}), 1);
  EXPECT_ERROR(make("switch", setting("free_weight", 0.0)), "free_weight in (0, 1]");
  Table both = setting("scope", "global");
  both.set("counts", "first");
  EXPECT_ERROR(make("switch", both), "expected counts = \"all\" with scope = \"global\"");
}

}  // namespace

}  // namespace moe::balance::conventions_test
