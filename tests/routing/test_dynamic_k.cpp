// Routers whose tokens say how many experts they need, against loops. T tokens, D width, E experts.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/zeros.h>

namespace moe::routing::dynamic_k_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 40, kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(const std::string& kind, const Table& settings) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = 2}, settings);
}

/// Compares a router with `count`, which says of the sorted probabilities how many are chosen.
template <class Count>
void expect_prefixes(Router& router, bool renormalise, const Count& count,
                     std::set<size_t>& counts) {
  const Tensor x_TD = 2 * normal({kTokens, kWidth}, 1);
  const Routing routing = router.forward(x_TD, {});
  const auto logits = naive::linear_logits(router, x_TD);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row p = naive::softmax(logits[static_cast<size_t>(t)]);
    const size_t n = count(naive::at_ids(p, naive::by_value(p)));
    counts.insert(n);
    const Ids ids = naive::best(p, n);
    Row weights = naive::at_ids(p, ids);
    if (renormalise) weights = naive::divided_by_sum(weights);
    naive::expect_pairs(routing, t, ids, weights);
    naive::expect_row(routing.scores_TE[t], p);
  }
}

TEST(TopPRouter, ChoosesTheShortestPrefixThatExceedsP) {
  for (const double p : {0.2, 0.4, 0.7, 0.999})
    for (const int64_t most : {0, 1, 3})
      for (const bool renormalise : {false, true}) {
        SCOPED_TRACE(concat("p=", p, " most=", most, ' ', renormalise));
        const auto router = make(
            "top_p", settings_of({{"p", p}, {"max_experts", most}, {"renormalise", renormalise}}));
        std::set<size_t> counts;
        expect_prefixes(
            *router, renormalise,
            [&](const Row& sorted) {
              double sum = 0;
              size_t n = 0;
              while (n < sorted.size() && !(sum > p)) sum += sorted[n++];
              return most > 0 ? std::min(n, static_cast<size_t>(most)) : n;
            },
            counts);
        if (p == 0.4 && most == 0) {
          EXPECT_GT(counts.size(), 1u) << "all tokens had as many experts";
        }
        EXPECT_EQ(router->active_experts(), most > 0 ? most : kExperts);
      }
}

TEST(TopPRouter, TakesEveryExpertForPOfOneAndHalfOfAFlatDistribution) {
  const Tensor flat_TD = at::zeros({3, kWidth}, at::kDouble);
  EXPECT_EQ(make("top_p", settings_of({{"p", 1.0}}))->forward(flat_TD, {}).pairs(), 3 * kExperts);
  const auto chosen =
      test::experts_by_token(make("top_p", settings_of({{"p", 0.45}}))->forward(flat_TD, {}));
  for (const auto& experts : chosen) EXPECT_EQ(experts, (Ids{0, 1, 2}));
}

TEST(ThresholdRouter, ChoosesEveryExpertAboveTheThresholdAndTheBestAlways) {
  for (const double threshold : {0.0, 0.05, 0.2, 0.9})
    for (const int64_t most : {0, 2})
      for (const bool renormalise : {false, true}) {
        SCOPED_TRACE(concat("threshold=", threshold, " most=", most, ' ', renormalise));
        const auto router = make("threshold", settings_of({{"threshold", threshold},
                                                           {"max_experts", most},
                                                           {"renormalise", renormalise}}));
        const double limit = threshold > 0 ? threshold : 1.0 / kExperts;
        std::set<size_t> counts;
        expect_prefixes(
            *router, renormalise,
            [&](const Row& sorted) {
              size_t n = 1;
              while (n < sorted.size() && sorted[n] > limit) ++n;
              return most > 0 ? std::min(n, static_cast<size_t>(most)) : n;
            },
            counts);
        if (threshold == 0.05) {
          EXPECT_GT(counts.size(), 1u) << "all tokens had as many experts";
        }
      }
}

TEST(ThresholdRouter, KnowsHowManyCanBeAbove) {
  EXPECT_EQ(make("threshold", settings_of({{"threshold", 0.4}}))->active_experts(), 3);
  EXPECT_EQ(make("threshold", {})->active_experts(), kExperts);
  EXPECT_EQ(make("threshold", settings_of({{"max_experts", 2}}))->active_experts(), 2);
}

TEST(DynamicK, GradientsOfRaggedChoicesAgreeWithCentralDifferences) {
  for (const std::string kind : {"top_p", "threshold"})
    for (const bool renormalise : {false, true}) {
      const auto router = make(kind, settings_of({{"renormalise", renormalise}}));
      const Tensor x_TD = 2 * normal({6, kWidth}, 1);
      EXPECT_EQ(router->forward(x_TD, {}).choices, 0);
      std::vector<Tensor> inputs = {x_TD};
      for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
      test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                             inputs);
    }
}

TEST(DynamicK, TopKMeansNothing) {
  for (const std::string kind : {"top_p", "threshold"})
    EXPECT_FALSE(make(kind, {})->takes_top_k()) << kind;
}

TEST(DynamicK, RefuseSettingsThatMeanNothing) {
  EXPECT_ERROR(make("top_p", settings_of({{"p", 0.0}})), "expected p in (0, 1], got 0");
  EXPECT_ERROR(make("top_p", settings_of({{"p", 1.5}})), "expected p in (0, 1], got 1.5");
  EXPECT_ERROR(make("top_p", settings_of({{"max_experts", 7}})),
               "expected max_experts in [0, num_experts=6], got 7");
  EXPECT_ERROR(make("threshold", settings_of({{"threshold", 1.0}})),
               "expected threshold in [0, 1), got 1");
  EXPECT_ERROR(make("threshold", settings_of({{"max_experts", -1}})),
               "expected max_experts >= 0, got -1");
  for (const std::string kind : {"top_p", "threshold"}) {
    EXPECT_NE(make(kind, settings_of({{"max_experts", 1}, {"renormalise", true}}))->untrained(),
              "");
    EXPECT_EQ(make(kind, {})->untrained(), "");
  }
}

}  // namespace

}  // namespace moe::routing::dynamic_k_test
