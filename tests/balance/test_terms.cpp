// What every registered balance term must do, and each against its naive twin. T tokens, E experts,
// K choices per token.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/convert.h>
#include <moe/balance/measure.h>

namespace moe::balance::terms_test {

namespace {

using moe::test::expect_gradients;
using namespace moe::test::balance;

class TermContract : public ::testing::TestWithParam<std::string> {};

TEST_P(TermContract, IsFiniteWithoutTokensScoresOrRealTokens) {
  const auto term = make(GetParam());
  const int64_t length = term->sums({routing_of(logits_of(1)), {}}).size(0);
  Routing without_scores = routing_of(logits_of(1));
  without_scores.logits_TE = without_scores.scores_TE = Tensor();
  const Tensor none_T = at::zeros({kTokens}, at::kBool);
  for (const Routing& routing :
       {routing_of(logits_of(1, 0)), without_scores, routing_of(logits_of(1), 2, none_T),
        routing_of(logits_of(1) * 0), routing_of(logits_of(1).to(at::kFloat) * 1e4)}) {
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
  const Tensor valid_T = bools({1, 1, 0, 1, 1, 1});
  expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0])); },
                   {logits_of(3)});
  expect_gradients(
      [&](const auto& in) { return value_of(*term, routing_of(in[0], kChoices, valid_T)); },
      {logits_of(3)});
}

TEST_P(TermContract, SendsNoGradientThroughCountsOrWeights) {
  const auto term = make(GetParam());
  Routing routing = routing_of(logits_of(4));
  routing.weights_N.set_requires_grad(true);
  EXPECT_FALSE(value_of(*term, routing).requires_grad());
}

TEST_P(TermContract, PaddingTakesNoPart) {
  const auto term = make(GetParam());
  const Tensor logits_TE = logits_of(5), valid_T = bools({1, 0, 1, 1, 0, 1});
  const Tensor real_TE = logits_TE.index_select(0, valid_T.nonzero().squeeze(1));
  EXPECT_NEAR(value_of(*term, routing_of(logits_TE, kChoices, valid_T)).item<double>(),
              value_of(*term, routing_of(real_TE)).item<double>(), 1e-12);
}

TEST_P(TermContract, SumsOfTwoRanksGiveTheValueOfOne) {
  const auto term = make(GetParam());
  const Tensor logits_TE = logits_of(6, 9);
  const RoutingContext context{.sequence_length = 3};  // a sequence belongs to one rank
  const Tensor left = term->sums({routing_of(logits_TE.slice(0, 0, 3)), context});
  const Tensor right = term->sums({routing_of(logits_TE.slice(0, 3, 9)), context});
  EXPECT_NEAR(term->value(left + right, context).item<double>(),
              value_of(*term, routing_of(logits_TE), context).item<double>(), 1e-12);
}

TEST_P(TermContract, GradientsAreFiniteWhereProbabilitiesVanish) {
  const auto term = make(GetParam());
  Tensor logits_TE = (logits_of(14).to(at::kFloat) * 1e4).set_requires_grad(true);
  const Tensor value = value_of(*term, routing_of(logits_TE));
  if (!value.requires_grad()) return;
  value.backward();
  EXPECT_TRUE(logits_TE.grad().isfinite().all().item<bool>());
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
    if (routing.valid_T.defined() && !routing.valid_T[t].item<bool>()) continue;
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
  const Tensor valid_T = bools({1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0});
  for (const bool padded : {false, true}) {
    const Routing routing = routing_of(logits_of(7, 12), kChoices, padded ? valid_T : Tensor());
    EXPECT_NEAR(value_of(*make("switch"), routing).item<double>(), naive_switch(routing, 0, 12),
                1e-12);

    const RoutingContext sequences{.sequence_length = 3};
    double mean = 0;
    const int64_t real = padded ? 3 : 4;
    for (int64_t g = 0; g < real; ++g)
      mean += naive_switch(routing, 3 * g, 3 * g + 3) / static_cast<double>(real);
    EXPECT_NEAR(
        value_of(*make("switch", setting("scope", "sequence")), routing, sequences).item<double>(),
        mean, 1e-12);

    const RoutingContext later{.counts_so_far_E = at::tensor({10, 0, 3, 1}, at::kLong)};
    const auto global = make("switch", setting("scope", "global"));
    EXPECT_NEAR(value_of(*global, routing, later).item<double>(),
                naive_switch(routing, 0, 12, {10, 0, 3, 1}), 1e-12);
    EXPECT_NEAR(value_of(*global, routing).item<double>(), naive_switch(routing, 0, 12), 1e-12);
  }
}

TEST(SwitchTerm, SequenceScopeIsDifferentiableAndFiniteWithoutTokens) {
  const auto term = make("switch", setting("scope", "sequence"));
  const RoutingContext context{.sequence_length = 3};
  expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0]), context); },
                   {logits_of(8)});
  EXPECT_EQ(value_of(*term, routing_of(logits_of(8, 0)), context).item<double>(), 0);
  EXPECT_ERROR(value_of(*term, routing_of(logits_of(8, 4)), context), "sequence_length=3");
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
  const RoutingContext single{.sequence_length = 1};
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
  const Tensor logits_TE = logits_of(12), valid_T = bools({1, 0, 1, 1, 0, 1});
  double squared_logsumexp = 0, plain = 0;
  for (const int64_t t : {0, 2, 3, 5}) {
    double sum = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
      const double l = logits_TE[t][e].item<double>();
      sum += std::exp(l);
      plain += l * l / 4;
    }
    squared_logsumexp += std::log(sum) * std::log(sum) / 4;
  }
  const Routing routing = routing_of(logits_TE, kChoices, valid_T);
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

TEST(Measure, ReportsLoadDropsTokensAndEveryTerm) {
  Routing routing = routing_of(logits_of(13), kChoices, bools({1, 0, 1, 1, 1, 1}));
  routing.experts_N[4] = kExperts;  // dropped by capacity
  const BalanceReport report =
      measure({{"switch", 0.5, make("switch")}, {"z_loss", 0.25, make("z_loss")}}, {routing, {}},
              *parallel::local());
  EXPECT_TRUE(at::equal(report.load_E, routing.counts_E().to(at::kDouble)));
  EXPECT_EQ(report.dropped.item<double>(), 1);
  EXPECT_EQ(report.tokens.item<double>(), 5);
  ASSERT_EQ(report.terms.size(), 2u);
  const double first = value_of(*make("switch"), routing).item<double>();
  const double second = value_of(*make("z_loss"), routing).item<double>();
  EXPECT_NEAR(report.terms[0].value.item<double>(), first, 1e-12);
  EXPECT_NEAR(report.terms[1].value.item<double>(), second, 1e-12);
  EXPECT_NEAR(report.loss().item<double>(), 0.5 * first + 0.25 * second, 1e-12);
}

}  // namespace

}  // namespace moe::balance::terms_test
