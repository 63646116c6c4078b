// Terms on probabilities and counts against plain loops. T tokens, E experts, K choices per token.
#include <cmath>
#include <functional>
#include <tests/balance/fixtures.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/sigmoid.h>

namespace moe::balance::probability_terms_test {

namespace {

using moe::test::expect_gradients;
using namespace moe::test::balance;

using Numbers = std::vector<double>;

/// The probabilities of one token: its scores over their sum.
Numbers naive_token(const Routing& routing, int64_t t) {
  Numbers p;
  double sum = 0;
  for (int64_t e = 0; e < routing.num_experts; ++e) {
    p.push_back(routing.scores_TE[t][e].item<double>());
    sum += p.back();
  }
  for (double& value : p) value /= sum;
  return p;
}

/// P_e over the tokens of [begin, end).
Numbers naive_mean(const Routing& routing, int64_t begin, int64_t end) {
  Numbers mean(static_cast<size_t>(routing.num_experts));
  const auto tokens = static_cast<double>(end - begin);
  for (int64_t t = begin; t < end; ++t) {
    const Numbers p = naive_token(routing, t);
    for (size_t e = 0; e < p.size(); ++e) mean[e] += p[e] / tokens;
  }
  return mean;
}

double naive_entropy(const Numbers& p) {
  double entropy = 0;
  for (const double value : p)
    if (value > 0) entropy -= value * std::log(value);
  return entropy;
}

/// Twelve tokens, with scores that sum to 1 and with some that do not, as sigmoid routers give.
std::vector<Routing> routings() {
  std::vector<Routing> out = {routing_of(logits_of(21, 12)), routing_of(logits_of(22, 12))};
  out.back().scores_TE = at::sigmoid(out.back().logits_TE);
  return out;
}

void expect_twin(const std::string& kind, const Table& settings,
                 const std::function<double(const Routing&)>& twin) {
  const auto term = make(kind, settings);
  for (const Routing& routing : routings())
    EXPECT_NEAR(value_of(*term, routing).item<double>(), twin(routing), 1e-12);
}

double at_collapse(const std::string& kind, const Table& settings = {}) {
  return value_of(*make(kind, settings), collapsed()).item<double>();
}

constexpr double E = kExperts;

TEST(SquaredDeviationTerm, AgreesWithItsNaiveTwinInBothForms) {
  const auto sum = [](const Routing& routing) {
    double total = 0;
    for (const double p : naive_mean(routing, 0, 12)) total += (p - 1 / E) * (p - 1 / E);
    return total;
  };
  expect_twin("squared_deviation", {}, sum);
  expect_twin("squared_deviation", setting("form", "mean"),
              [&](const Routing& routing) { return sum(routing) / E; });
  EXPECT_NEAR(at_collapse("squared_deviation"), 1 - 1 / E, 1e-12);
  EXPECT_NEAR(at_collapse("squared_deviation", setting("form", "mean")), (1 - 1 / E) / E, 1e-12);
}

TEST(AbsoluteDeviationTerm, AgreesWithItsNaiveTwin) {
  expect_twin("absolute_deviation", {}, [](const Routing& routing) {
    double total = 0;
    for (const double p : naive_mean(routing, 0, 12)) total += std::abs(p - 1 / E);
    return total;
  });
  EXPECT_NEAR(at_collapse("absolute_deviation"), 2 - 2 / E, 1e-12);
}

TEST(EntropyTerm, AgreesWithItsNaiveTwin) {
  expect_twin("entropy", {},
              [](const Routing& routing) { return -naive_entropy(naive_mean(routing, 0, 12)); });
  EXPECT_NEAR(at_collapse("entropy"), 0, 1e-12);
  EXPECT_NEAR(make("entropy", {}, 8)->value_at_balance(), -std::log(8.0), 1e-15);
}

TEST(ImportanceTerm, AgreesWithItsNaiveTwin) {
  expect_twin("importance", {}, [](const Routing& routing) {
    Numbers importance(kExperts);
    for (int64_t t = 0; t < 12; ++t)
      for (size_t e = 0; e < kExperts; ++e) importance[e] += naive_token(routing, t)[e];
    double mean = 0, variance = 0;
    for (const double value : importance) mean += value / E;
    for (const double value : importance) variance += (value - mean) * (value - mean) / E;
    return variance / (mean * mean);
  });
  EXPECT_NEAR(at_collapse("importance"), E - 1, 1e-12);
}

TEST(SpecialisationTerm, AgreesWithItsNaiveTwin) {
  expect_twin("specialisation", {}, [](const Routing& routing) {
    double tokens = 0, uncertainty = 0;
    for (int64_t t = 0; t < 12; ++t, ++tokens)
      uncertainty += naive_entropy(naive_token(routing, t));
    return uncertainty / tokens - naive_entropy(naive_mean(routing, 0, 12));
  });
  EXPECT_NEAR(at_collapse("specialisation"), 0, 1e-12);
}

TEST(SpecialisationTerm, IsLowestWhenEveryTokenIsSureAndAllExpertsAreUsed) {
  Tensor logits_TE = at::zeros({2 * kExperts, kExperts}, at::kDouble);
  for (int64_t t = 0; t < 2 * kExperts; ++t) logits_TE[t][t % kExperts] = 1000;
  EXPECT_NEAR(value_of(*make("specialisation"), routing_of(logits_TE)).item<double>(), -std::log(E),
              1e-12);
}

/// E sum_e f_e P_e over tokens [begin, end), where token t counts for the experts of `chosen`.
double naive_product(const Routing& routing, const Routing& chosen, int64_t begin, int64_t end) {
  Numbers count(kExperts);
  double pairs = 0, total = 0;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t n = t * kChoices; n < (t + 1) * kChoices; ++n, ++pairs)
      ++count[static_cast<size_t>(chosen.experts_N[n].item<int64_t>())];
  const Numbers p = naive_mean(routing, begin, end);
  for (size_t e = 0; e < kExperts; ++e) total += E * count[e] / pairs * p[e];
  return total;
}

TEST(SequenceTerm, AgreesWithItsNaiveTwinWhateverItCounts) {
  for (Routing routing : routings())
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{3, 3, 3, 3}, {1, 7, 4}, {0, 5, 7}}) {
      // The routing that happened differs from what the scores would choose, as with a bias.
      const Routing best = routing_of(routing.scores_TE);
      routing.experts_N = routing_of(logits_of(23, 12)).experts_N;
      ASSERT_FALSE(at::equal(best.experts_N, routing.experts_N));
      double happened = 0, scored = 0, rows = 0;
      int64_t begin = 0;
      for (const int64_t length : lengths) {
        const int64_t end = begin + length;
        if (length > 0) {
          happened += naive_product(routing, routing, begin, end);
          scored += naive_product(routing, best, begin, end);
          ++rows;
        }
        begin = end;
      }
      const LayerContext context = rows_of(lengths);
      EXPECT_NEAR(value_of(*make("sequence"), routing, context).item<double>(), happened / rows,
                  1e-12);
      const auto by_score = make("sequence", setting("counts", "scores"));
      EXPECT_NEAR(value_of(*by_score, routing, context).item<double>(), scored / rows, 1e-12);
    }
}

TEST(SequenceTerm, IsTheSwitchLossOfEachRow) {
  const auto by_sequence = make("switch", setting("scope", "sequence"));
  for (const Routing& routing : routings())
    for (const LayerContext& context : {rows_of({4, 4, 4}), rows_of({2, 9, 1})})
      EXPECT_EQ(value_of(*make("sequence"), routing, context).item<double>(),
                value_of(*by_sequence, routing, context).item<double>());
}

TEST(SequenceTerm, OfSeveralRowsIsTheMeanOfEachAlone) {
  const Tensor logits_TE = logits_of(27, 12).to(at::kFloat);
  const auto term = make("sequence");
  double total = 0;
  for (const auto& [begin, end] : {std::pair{0, 5}, {5, 6}, {6, 12}})
    total += value_of(*term, routing_of(logits_TE.slice(0, begin, end))).item<double>();
  EXPECT_NEAR(value_of(*term, routing_of(logits_TE), rows_of({5, 1, 6})).item<double>(), total / 3,
              1e-14);
}

TEST(SequenceTerm, HasItsValuesAtCollapseAndWithoutTokens) {
  // All first choices on one expert with all probability: f is 1/K, P is 1.
  EXPECT_NEAR(at_collapse("sequence"), E / kChoices, 1e-12);
  EXPECT_EQ(value_of(*make("sequence"), routing_of(logits_of(24, 0))).item<double>(), 0);
  const auto by_score = make("sequence", setting("counts", "scores"));
  EXPECT_EQ(value_of(*by_score, routing_of(logits_of(24, 0))).item<double>(), 0);
  for (const LayerContext& context : {rows_of({3, 3}), rows_of({2, 4})})
    expect_gradients(
        [&](const auto& in) { return value_of(*by_score, routing_of(in[0]), context); },
        {logits_of(25)});
}

TEST(ProbabilityTerms, TakeNoTokensForBalance) {
  for (const std::string kind : {"squared_deviation", "absolute_deviation", "entropy", "importance",
                                 "specialisation", "load", "usage_variance"}) {
    const auto term = make(kind);
    EXPECT_NEAR(value_of(*term, routing_of(logits_of(26, 0))).item<double>(),
                term->value_at_balance(), 1e-15)
        << kind;
  }
}

TEST(ProbabilityTerms, OfLowLoadPullProbabilityTowardsTheUnusedExpert) {
  Tensor logits_TE = at::zeros({5, kExperts}, at::kDouble);
  logits_TE.select(1, 2).fill_(-1);
  for (const std::string kind : {"squared_deviation", "absolute_deviation", "entropy", "importance",
                                 "load", "usage_variance"}) {
    Tensor leaf_TE = logits_TE.clone().set_requires_grad(true);
    value_of(*make(kind), routing_of(leaf_TE)).backward();
    EXPECT_LT(leaf_TE.grad().select(1, 2).max().item<double>(), 0) << kind;
  }
}

}  // namespace

}  // namespace moe::balance::probability_terms_test
