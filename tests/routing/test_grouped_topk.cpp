// The router that takes as many experts of each group, against loops. T tokens, D width, E experts,
// K choices per token, G groups.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/bincount.h>

namespace moe::routing::grouped_topk_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 20, kWidth = 5, kExperts = 12;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings) {
  return naive::make("grouped_topk", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k},
                     settings);
}

TEST(GroupedTopKRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& [K, groups] :
       std::vector<std::pair<int64_t, int64_t>>{{4, 0}, {4, 2}, {4, 1}, {6, 3}, {12, 4}, {3, 3}})
    for (const bool renormalise : {false, true}) {
      SCOPED_TRACE(concat("K=", K, " groups=", groups, ' ', renormalise));
      const auto router =
          make(K, settings_of({{"groups", groups}, {"renormalise", renormalise}, {"scale", 1.5}}));
      const int64_t G = groups > 0 ? groups : 4, S = kExperts / G;
      const Routing routing = router->forward(x_TD, {});
      const auto logits = naive::linear_logits(*router, x_TD);
      for (int64_t t = 0; t < kTokens; ++t) {
        const Row p = naive::softmax(logits[static_cast<size_t>(t)]);
        Row chosen(kExperts, -1);
        for (int64_t g = 0; g < G; ++g) {
          const Row own(p.begin() + g * S, p.begin() + (g + 1) * S);
          for (const int64_t e : naive::best(own, static_cast<size_t>(K / G)))
            chosen[static_cast<size_t>(g * S + e)] = own[static_cast<size_t>(e)];
        }
        const Ids ids = naive::best(chosen, static_cast<size_t>(K));
        Row weights = naive::at_ids(p, ids);
        if (renormalise) weights = naive::divided_by_sum(weights);
        for (double& w : weights) w *= 1.5;
        naive::expect_pairs(routing, t, ids, weights);
        naive::expect_row(routing.scores_TE[t], p);
      }
      const Tensor load_G = at::bincount(at::floor_divide(routing.experts_N, S), {}, G);
      EXPECT_TRUE(load_G.eq(kTokens * K / G).all().item<bool>()) << "groups are not even";
    }
}

TEST(GroupedTopKRouter, GradientsAgreeWithCentralDifferences) {
  for (const bool renormalise : {false, true}) {
    const auto router = make(4, settings_of({{"groups", 2}, {"renormalise", renormalise}}));
    std::vector<Tensor> inputs = {normal({5, kWidth}, 3)};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                           inputs);
  }
}

TEST(GroupedTopKRouter, RefusesGroupsThatDoNotFit) {
  EXPECT_ERROR(make(4, settings_of({{"groups", 3}})),
               "expected groups that divide num_experts=12 and top_k=4, got 3");
  EXPECT_ERROR(make(10, settings_of({{"groups", 5}})),
               "expected groups that divide num_experts=12 and top_k=10, got 5");
  EXPECT_ERROR(make(4, settings_of({{"groups", -1}})), "expected groups >= 0, got -1");
  EXPECT_NE(make(1, settings_of({{"renormalise", true}}))->untrained(), "");
  EXPECT_EQ(make(1, {})->untrained(), "");
}

}  // namespace

}  // namespace moe::routing::grouped_topk_test
