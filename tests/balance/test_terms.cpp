// What every registered balance term must do, and each against its naive twin. T tokens, E experts,
// K choices per token.
#include <algorithm>
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>
#include <tests/support/public_options.h>
#include <tests/support/unfilled.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/convert.h>
#include <moe/balance/measure.h>
#include <moe/balance/terms.h>

namespace moe::balance::terms_test {

namespace {

using moe::test::expect_gradients;
using namespace moe::test::balance;

class TermContract : public ::testing::TestWithParam<std::string> {};

TEST_P(TermContract, IsFiniteWithoutTokensOrScores) {
  const auto term = make(GetParam());
  const int64_t length = term->sums({routing_of(logits_of(1)), {}}).size(0);
  Routing without_scores = routing_of(logits_of(1));
  without_scores.logits_TE = without_scores.scores_TE = Tensor();
  for (const Routing& routing :
       {routing_of(logits_of(1, 0)), without_scores, routing_of(logits_of(1) * 0),
        routing_of(logits_of(1).to(at::kFloat) * 1e4)}) {
    const Tensor sums = term->sums({routing, {}});
    ASSERT_EQ(sums.dim(), 1);
    EXPECT_EQ(sums.size(0), length) << "the length may depend on the shape only";
    const Tensor value = term->value(sums, {});
    EXPECT_EQ(value.dim(), 0);
    EXPECT_TRUE(std::isfinite(value.item<double>()));
  }
}

TEST_P(TermContract, HasItsValueAtBalanceForAnyShape) {
  for (const int64_t E : {2, 4, 6})
    for (const int64_t K : {1, 2})
      for (const int64_t T : {E, 5 * E}) {
        const auto term = make(GetParam(), {}, E, K);
        if (std::isnan(term->value_at_balance())) continue;
        Routing routing = routing_of(at::zeros({T, E}, at::kDouble), K);
        routing.experts_N = at::arange(T * K, at::kLong).remainder(E);
        EXPECT_NEAR(value_of(*term, routing).item<double>(), term->value_at_balance(), 1e-12)
            << "E " << E << " K " << K << " T " << T;
      }
}

TEST_P(TermContract, DoesNotDependOnHowOftenTheSameTokensCome) {
  const auto term = make(GetParam());
  const Tensor logits_TE = logits_of(2);
  const double once = value_of(*term, routing_of(logits_TE)).item<double>();
  const double thrice =
      value_of(*term, routing_of(at::cat({logits_TE, logits_TE, logits_TE}))).item<double>();
  EXPECT_NEAR(once, thrice, 1e-12 * (1 + std::abs(once)));
}

TEST_P(TermContract, GradientsAgreeWithCentralDifferences) {
  const auto term = make(GetParam());
  for (const LayerContext& context : {LayerContext(), rows_of({1, 3, 2})})
    expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0]), context); },
                     {logits_of(3)});
}

TEST_P(TermContract, SendsNoGradientThroughCountsOrWeights) {
  const auto term = make(GetParam());
  Routing routing = routing_of(logits_of(4));
  routing.weights_N.set_requires_grad(true);
  EXPECT_FALSE(value_of(*term, routing).requires_grad());
}

TEST_P(TermContract, SumsOfTwoRanksGiveTheValueOfOne) {
  const auto term = make(GetParam());
  const Tensor logits_TE = logits_of(6, 9);
  // A row belongs to one rank.
  for (const std::vector<int64_t>& rest : {std::vector<int64_t>{3, 3}, {1, 4, 0, 1}}) {
    std::vector<int64_t> all = {3};
    all.insert(all.end(), rest.begin(), rest.end());
    const Tensor left = term->sums({routing_of(logits_TE.slice(0, 0, 3)), rows_of({3})});
    const Tensor right = term->sums({routing_of(logits_TE.slice(0, 3, 9)), rows_of(rest)});
    EXPECT_NEAR(term->value(left + right, {}).item<double>(),
                value_of(*term, routing_of(logits_TE), rows_of(all)).item<double>(), 1e-12);
  }
}

TEST_P(TermContract, GradientsAreFiniteWhereProbabilitiesVanish) {
  const auto term = make(GetParam());
  Tensor logits_TE = (logits_of(14).to(at::kFloat) * 1e4).set_requires_grad(true);
  const Tensor value = value_of(*term, routing_of(logits_TE));
  if (!value.requires_grad()) return;
  value.backward();
  EXPECT_TRUE(logits_TE.grad().isfinite().all().item<bool>());
}

TEST_P(TermContract, LivesWithoutMemory) {
  moe::test::expect_lives_without_memory([&](const at::TensorOptions& tensors) {
    return terms()
        .at(GetParam())
        .make({.num_experts = kExperts, .top_k = kChoices, .tensors = tensors}, {});
  });
}

TEST_P(TermContract, RefusesUnknownOptionsAndExplainsItsOwn) {
  const auto entry = terms().at(GetParam());
  EXPECT_THROW(entry.check(setting("no_such_option", 1), "balance"), ConfigError);
  for (const FieldInfo& field : entry.fields()) EXPECT_FALSE(field.help.empty()) << field.name;
}

INSTANTIATE_TEST_SUITE_P(Kinds, TermContract, ::testing::ValuesIn(terms().names()),
                         [](const auto& info) { return info.param; });

/// E sum_e f_e P_e over tokens [begin, end) by loops; `extra` is added to the counts.
double naive_switch(const Routing& routing, int64_t begin, int64_t end,
                    const std::vector<double>& extra = {}) {
  const int64_t E = routing.num_experts;
  std::vector<double> count(static_cast<size_t>(E)), p(static_cast<size_t>(E));
  if (!extra.empty()) count = extra;
  double pairs = 0, tokens = 0, total = 0;
  for (int64_t t = begin; t < end; ++t) {
    ++tokens;
    const double row = routing.scores_TE[t].sum().item<double>();
    for (int64_t e = 0; e < E; ++e)
      p[static_cast<size_t>(e)] += routing.scores_TE[t][e].item<double>() / row;
    for (int64_t n = routing.offsets[t].item<int64_t>(); n < routing.offsets[t + 1].item<int64_t>();
         ++n)
      ++count[static_cast<size_t>(routing.experts_N[n].item<int64_t>())];
  }
  for (const double c : count) pairs += c;
  for (int64_t e = 0; e < E; ++e)
    total += count[static_cast<size_t>(e)] / pairs * p[static_cast<size_t>(e)] / tokens;
  return static_cast<double>(E) * total;
}

TEST(SwitchTerm, AgreesWithItsNaiveTwinInEveryScope) {
  const Routing routing = routing_of(logits_of(7, 12));
  EXPECT_NEAR(value_of(*make("switch"), routing).item<double>(), naive_switch(routing, 0, 12),
              1e-12);

  for (const std::vector<int64_t>& lengths :
       {std::vector<int64_t>{3, 3, 3, 3}, {1, 7, 4}, {0, 5, 0, 7}}) {
    double total = 0, rows = 0;
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      if (length > 0) total += naive_switch(routing, begin, begin + length), ++rows;
      begin += length;
    }
    const auto term = make("switch", setting("scope", "sequence"));
    EXPECT_NEAR(value_of(*term, routing, rows_of(lengths)).item<double>(), total / rows, 1e-12);
  }

  LayerContext later;
  later.counts_so_far_E = at::tensor({10, 0, 3, 1}, at::kLong);
  const auto global = make("switch", setting("scope", "global"));
  EXPECT_NEAR(value_of(*global, routing, later).item<double>(),
              naive_switch(routing, 0, 12, {10, 0, 3, 1}), 1e-12);
  EXPECT_NEAR(value_of(*global, routing).item<double>(), naive_switch(routing, 0, 12), 1e-12);
}

TEST(SwitchTerm, SequenceScopeIsDifferentiableAndFiniteWithoutTokens) {
  const auto term = make("switch", setting("scope", "sequence"));
  for (const LayerContext& context : {rows_of({3, 3}), rows_of({1, 5})})
    expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0]), context); },
                     {logits_of(8)});
  for (const LayerContext& context : {LayerContext(), rows_of({0, 0})})
    EXPECT_EQ(value_of(*term, routing_of(logits_of(8, 0)), context).item<double>(), 0);
  EXPECT_ERROR(value_of(*term, routing_of(logits_of(8, 4)), rows_of({3})),
               "expected sequences of 4 tokens in all");
}

TEST(SwitchTerm, NormalisesScoresThatDoNotSumToOne) {
  Routing routing = routing_of(logits_of(9));
  const double softmax = value_of(*make("switch"), routing).item<double>();
  routing.scores_TE = routing.scores_TE * 3;
  EXPECT_NEAR(value_of(*make("switch"), routing).item<double>(), softmax, 1e-12);
  EXPECT_NEAR(value_of(*make("switch", setting("normalise", false)), routing).item<double>(),
              3 * softmax, 1e-12);
}

TEST(SwitchTerm, CountsThePairsOfRaggedRoutings) {
  Routing routing = routing_of(logits_of(10, 3));
  routing.choices = 0;
  routing.offsets = at::tensor({0, 3, 3, 6}, at::kLong);
  routing.experts_N = at::tensor({0, 1, 2, 0, 2, 3}, at::kLong);
  EXPECT_NEAR(value_of(*make("switch"), routing).item<double>(), naive_switch(routing, 0, 3),
              1e-12);
  const LayerContext single = rows_of({1, 1, 1});
  const double mean = (naive_switch(routing, 0, 1) + 0 + naive_switch(routing, 2, 3)) / 3;
  EXPECT_NEAR(
      value_of(*make("switch", setting("scope", "sequence")), routing, single).item<double>(), mean,
      1e-12);
}

TEST(SwitchTerm, ConvertsTheCoefficientOfTransformers) {
  // Its load_balancing_loss_func: E * sum over choices j and experts e of mean_t [choice j of t is
  // e] * mean_t p_te.
  const Routing routing = routing_of(logits_of(11));
  double theirs = 0;
  for (int64_t n = 0; n < routing.pairs(); ++n) {
    const Tensor p_T = routing.scores_TE.select(1, routing.experts_N[n].item<int64_t>());
    theirs += kExperts * p_T.mean().item<double>() / kTokens;
  }
  const double ours = value_of(*make("switch"), routing).item<double>();
  EXPECT_NEAR(0.02 * theirs, from_transformers(0.02, kChoices) * ours, 1e-12);
  EXPECT_DOUBLE_EQ(to_transformers(from_transformers(0.02, kChoices), kChoices), 0.02);
}

TEST(ZLossTerm, AgreesWithItsNaiveTwin) {
  const Tensor logits_TE = logits_of(12);
  double squared_logsumexp = 0, plain = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    double sum = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
      const double l = logits_TE[t][e].item<double>();
      sum += std::exp(l);
      plain += l * l / kTokens;
    }
    squared_logsumexp += std::log(sum) * std::log(sum) / kTokens;
  }
  const Routing routing = routing_of(logits_TE);
  EXPECT_NEAR(value_of(*make("z_loss"), routing).item<double>(), squared_logsumexp, 1e-12);
  const auto plain_form = make("z_loss", setting("form", "plain"));
  EXPECT_NEAR(value_of(*plain_form, routing).item<double>(), plain, 1e-12);
  expect_gradients([&](const auto& in) { return value_of(*plain_form, routing_of(in[0])); },
                   {logits_TE.clone()});
}

TEST(Terms, RefuseSettingsThatMeanNothing) {
  EXPECT_ERROR(make("switch", setting("scope", "batches")), "Did you mean 'batch'?");
  EXPECT_ERROR(make("z_loss", setting("form", "log")),
               "expected form to be one of logsumexp, plain");
  EXPECT_ERROR(make("squared_deviation", setting("form", "max")), "one of sum, mean");
  EXPECT_ERROR(make("load", setting("form", "shazer")), "Did you mean 'shazeer'?");
  EXPECT_ERROR(make("load", setting("noise_std", -1.0)), "noise_std >= 0, got -1");
  EXPECT_ERROR(make("sequence", setting("counts", "all")), "one of routing, scores");
  EXPECT_ERROR(make("usage_variance", setting("decay", 1.0)), "decay in [0, 1), got 1");
  EXPECT_ERROR(make("usage_variance", setting("average", "mean")), "exponential, cumulative");
  EXPECT_ERROR(make("orthogonality", setting("of", "expert")), "Did you mean 'experts'?");
}

template <class... Options>
std::vector<std::string> kinds_of() {
  return {moe::test::expect_public_options<Options, BalanceSpec>(terms())...};
}

TEST(PublicTermOptions, EveryBuiltInKindHasThem) {
  auto found = kinds_of<SwitchLoss, SquaredDeviationLoss, AbsoluteDeviationLoss, EntropyLoss,
                        ImportanceLoss, LoadLoss, ZLoss, SequenceLoss, UsageVarianceLoss,
                        SpecialisationLoss, OrthogonalityLoss, ExpertL2Loss, TokenEntropyLoss,
                        DomainClassifierLoss, ReluL1Loss, GateDiversityLoss, SimilarityLoss>();
#define X(name, help) #name,
  std::vector<std::string> built_in = {
#include <moe/balance/losses.def>
  };
#undef X
  std::sort(found.begin(), found.end());
  std::sort(built_in.begin(), built_in.end());
  EXPECT_EQ(found, built_in);
}

TEST(PublicTermOptions, CarryTheCoefficientBesideTheOptions) {
  const std::vector<BalanceSpec> specs = {
      SwitchLoss{.coefficient = 0.5, .scope = "sequence"}, ZLoss{}, {"entropy", 0.25}};
  EXPECT_EQ(specs[0].coefficient, 0.5);
  EXPECT_FALSE(specs[0].options.find("coefficient"));
  EXPECT_EQ(specs[0].options.find("scope")->text(), "\"sequence\"");
  EXPECT_EQ(specs[1].coefficient, BalanceSpec{}.coefficient);
  EXPECT_EQ(specs[2].make({.num_experts = kExperts})->value_at_balance(), -std::log(kExperts));
}

TEST(Measure, ReportsLoadDropsTokensAndEveryTerm) {
  Routing routing = routing_of(logits_of(13));
  routing.experts_N[4] = kExperts;  // dropped by capacity
  const BalanceReport report =
      measure({{"switch", 0.5, make("switch")}, {"z_loss", 0.25, make("z_loss")}}, {routing, {}},
              *parallel::local());
  EXPECT_TRUE(at::equal(report.load_E, routing.counts_E().to(at::kDouble)));
  EXPECT_EQ(report.dropped.item<double>(), 1);
  EXPECT_EQ(report.tokens.item<double>(), kTokens);
  ASSERT_EQ(report.terms.size(), 2u);
  const double first = value_of(*make("switch"), routing).item<double>();
  const double second = value_of(*make("z_loss"), routing).item<double>();
  EXPECT_NEAR(report.terms[0].value.item<double>(), first, 1e-12);
  EXPECT_NEAR(report.terms[1].value.item<double>(), second, 1e-12);
  EXPECT_NEAR(report.loss().item<double>(), 0.5 * first + 0.25 * second, 1e-12);
}

}  // namespace

}  // namespace moe::balance::terms_test
