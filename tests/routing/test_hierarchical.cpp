// The hierarchical router against loops. T tokens, D width, E experts, K choices per token, C
// clusters of S experts, J kept clusters.
#include <array>
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

namespace moe::routing::hierarchical_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 24, kWidth = 5, kExperts = 12;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings, int64_t experts = kExperts) {
  return naive::make("hierarchical", {.d_model = kWidth, .num_experts = experts, .top_k = top_k},
                     settings);
}

struct Rule {
  size_t clusters, kept;
  bool renormalise_clusters, renormalise;
};

/// The pairs of one token, best first, and all products of probabilities.
void expect_two_levels(const Routing& routing, int64_t t, const Row& cluster_logits,
                       const Row& expert_logits, size_t K, const Rule& rule) {
  const size_t S = expert_logits.size() / rule.clusters;
  const Row p_C = naive::softmax(cluster_logits);
  const Ids kept = naive::best(p_C, rule.kept);
  Row cluster_weights = naive::at_ids(p_C, kept);
  if (rule.renormalise_clusters) cluster_weights = naive::divided_by_sum(cluster_weights);
  Row scores;
  const auto within = [&](size_t c) {
    return naive::softmax(Row(expert_logits.begin() + static_cast<int64_t>(c * S),
                              expert_logits.begin() + static_cast<int64_t>((c + 1) * S)));
  };
  for (size_t c = 0; c < rule.clusters; ++c)
    for (const double p : within(c)) scores.push_back(p_C[c] * p);
  naive::expect_row(routing.scores_TE[t], scores);

  Ids found;
  Row weights;
  for (size_t j = 0; j < rule.kept; ++j) {
    const auto c = static_cast<size_t>(kept[j]);
    const size_t mine = K / rule.kept + (j < K % rule.kept ? 1 : 0);
    const Row p_S = within(c);
    const Ids ids = naive::best(p_S, mine);
    Row shares = naive::at_ids(p_S, ids);
    if (rule.renormalise) shares = naive::divided_by_sum(shares);
    for (size_t n = 0; n < mine; ++n) {
      found.push_back(static_cast<int64_t>(c * S) + ids[n]);
      weights.push_back(cluster_weights[j] * shares[n]);
    }
  }
  const Ids order = naive::by_value(weights);
  Ids sorted;
  for (const int64_t i : order) sorted.push_back(found[static_cast<size_t>(i)]);
  naive::expect_pairs(routing, t, sorted, naive::at_ids(weights, order));
}

TEST(HierarchicalRouter, AgreesWithItsNaiveTwinForEveryRule) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& [K, C, J] : std::vector<std::array<int64_t, 3>>{
           {2, 3, 1}, {2, 3, 2}, {3, 4, 2}, {4, 2, 2}, {5, 6, 3}, {12, 3, 3}, {3, 12, 3}})
    for (const bool renormalise_clusters : {false, true})
      for (const bool renormalise : {false, true}) {
        SCOPED_TRACE(concat("K=", K, " C=", C, " J=", J, ' ', renormalise_clusters, renormalise));
        const auto router = make(K, settings_of({{"clusters", C},
                                                 {"kept_clusters", J},
                                                 {"renormalise_clusters", renormalise_clusters},
                                                 {"renormalise", renormalise}}));
        const Routing routing = router->forward(x_TD, {});
        const auto x = naive::rows_of(x_TD);
        const auto clusters = naive::linear(x, naive::state_of(*router, "clusters.weight")),
                   experts = naive::linear(x, naive::state_of(*router, "weight"));
        for (int64_t t = 0; t < kTokens; ++t) {
          const auto at = static_cast<size_t>(t);
          expect_two_levels(
              routing, t, clusters[at], experts[at], static_cast<size_t>(K),
              {static_cast<size_t>(C), static_cast<size_t>(J), renormalise_clusters, renormalise});
          Row sums = experts[at];
          for (size_t e = 0; e < sums.size(); ++e)
            sums[e] += clusters[at][e / (kExperts / static_cast<size_t>(C))];
          naive::expect_row(routing.logits_TE[t], sums);
          if (renormalise && renormalise_clusters) {
            EXPECT_NEAR(test::weights_of(routing, t).sum().item<double>(), 1, 1e-12);
          }
        }
      }
}

TEST(HierarchicalRouter, WithEverythingKeptIsTheDenseMixtureOfProducts) {
  const auto router = make(kExperts, settings_of({{"clusters", 3}, {"kept_clusters", 3}}));
  const Routing routing = router->forward(normal({4, kWidth}, 2), {});
  const Tensor weights_TE = at::zeros({4, kExperts}, at::kDouble)
                                .scatter(1, routing.experts_N.view({4, kExperts}),
                                         routing.weights_N.detach().view({4, kExperts}));
  EXPECT_TRUE(at::allclose(weights_TE, routing.scores_TE));
  EXPECT_NEAR(weights_TE.sum().item<double>(), 4, 1e-12);
}

TEST(HierarchicalRouter, TakesAsFewClustersOfAboutTheRootAsHoldItsChoices) {
  const auto kept_of = [&](int64_t top_k, int64_t experts) {
    const auto router = make(top_k, {}, experts);
    const Routing routing = router->forward(normal({kTokens, kWidth}, 1), {});
    const auto parameters = router->named_parameters();
    const Tensor* const found = parameters.find("clusters.weight");
    const int64_t clusters = found ? found->size(0) : 1;
    std::set<int64_t> used;
    const Ids chosen = test::experts_by_token(routing)[0];
    for (const int64_t e : chosen) used.insert(e / (experts / clusters));
    return std::pair{clusters, static_cast<int64_t>(used.size())};
  };
  EXPECT_EQ(kept_of(2, 12), (std::pair<int64_t, int64_t>{3, 1}));
  EXPECT_EQ(kept_of(5, 12), (std::pair<int64_t, int64_t>{3, 2}));
  EXPECT_EQ(kept_of(12, 12), (std::pair<int64_t, int64_t>{3, 3}));
  EXPECT_EQ(kept_of(2, 16), (std::pair<int64_t, int64_t>{4, 1}));
  EXPECT_EQ(kept_of(2, 7), (std::pair<int64_t, int64_t>{1, 1}));
}

TEST(HierarchicalRouter, GradientsOfEveryRuleAgreeWithCentralDifferences) {
  for (const bool renormalise : {false, true}) {
    const auto router = make(5, settings_of({{"clusters", 4},
                                             {"kept_clusters", 2},
                                             {"renormalise_clusters", renormalise},
                                             {"renormalise", renormalise}}));
    std::vector<Tensor> inputs = {normal({4, kWidth}, 3)};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                           inputs);
  }
}

TEST(HierarchicalRouter, SaysWhenALevelCannotLearn) {
  const auto why = [&](int64_t top_k, const Table& settings) {
    return make(top_k, settings)->untrained();
  };
  EXPECT_EQ(why(2, {}), "");
  EXPECT_NE(why(2, settings_of({{"kept_clusters", 1}, {"renormalise_clusters", true}}))
                .find("the router of clusters"),
            std::string::npos);
  EXPECT_NE(why(2, settings_of({{"kept_clusters", 2}, {"renormalise", true}}))
                .find("the clusters' routers"),
            std::string::npos);
}

TEST(HierarchicalRouter, RefusesClustersThatDoNotFit) {
  EXPECT_ERROR(make(2, settings_of({{"clusters", 5}})),
               "expected clusters of equal size, got clusters=5 for num_experts=12. Choose a "
               "divisor");
  EXPECT_ERROR(make(2, settings_of({{"clusters", -1}})), "expected clusters >= 0, got -1");
  EXPECT_ERROR(make(2, settings_of({{"clusters", 3}, {"kept_clusters", 4}})),
               "expected kept_clusters in [0, clusters=3], got 4");
  EXPECT_ERROR(make(2, settings_of({{"clusters", 4}, {"kept_clusters", 3}})),
               "expected kept_clusters up to clusters=4 and top_k=2, got 3");
  EXPECT_ERROR(make(7, settings_of({{"clusters", 4}, {"kept_clusters", 2}})),
               "expected kept_clusters that hold top_k=7 experts, got 2 with 6");
}

}  // namespace

}  // namespace moe::routing::hierarchical_test
