// The router with one router a head, against loops. T tokens, D width, E experts, K choices per
// token, H heads.
#include <map>
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

namespace moe::routing::per_head_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 30, kWidth = 7, kExperts = 6;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings) {
  return naive::make("per_head", {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k},
                     settings);
}

/// Logits of head `h` of `heads`, by the parts of the token and of the matrix that it sees.
Row head_logits(const Row& x, const std::vector<Row>& weight_E, int64_t h, int64_t heads,
                bool whole) {
  const int64_t D = kWidth;
  const int64_t begin = whole ? 0 : h * D / heads, end = whole ? D : (h + 1) * D / heads;
  Row out;
  for (const Row& row : weight_E) {
    double sum = 0;
    for (int64_t d = begin; d < end; ++d)
      sum += x[static_cast<size_t>(d)] * row[static_cast<size_t>(whole ? h * D + d : d)];
    out.push_back(sum);
  }
  return out;
}

TEST(PerHeadRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  int64_t merged = 0;
  for (const std::string reads : {"slice", "token"})
    for (const auto& [K, heads] :
         std::vector<std::pair<int64_t, int64_t>>{{2, 0}, {3, 0}, {4, 2}, {4, 1}, {6, 3}})
      for (const bool renormalise : {false, true}) {
        SCOPED_TRACE(concat(reads, " K=", K, " heads=", heads, ' ', renormalise));
        const auto router = make(
            K, settings_of({{"reads", reads}, {"heads", heads}, {"renormalise", renormalise}}));
        const int64_t H = heads > 0 ? heads : K;
        const auto weight_E = naive::rows_of(naive::state_of(*router, "weight"));
        EXPECT_EQ(static_cast<int64_t>(weight_E[0].size()), reads == "token" ? H * kWidth : kWidth);
        const Routing routing = router->forward(x_TD, {});
        const auto x = naive::rows_of(x_TD);
        for (int64_t t = 0; t < kTokens; ++t) {
          std::map<int64_t, double> total;
          Row mean_p(kExperts), mean_l(kExperts);
          for (int64_t h = 0; h < H; ++h) {
            const Row l = head_logits(x[static_cast<size_t>(t)], weight_E, h, H, reads == "token");
            const Row p = naive::softmax(l);
            const Ids ids = naive::best(p, static_cast<size_t>(K / H));
            Row w = naive::at_ids(p, ids);
            if (renormalise) w = naive::divided_by_sum(w);
            for (size_t j = 0; j < ids.size(); ++j) total[ids[j]] += w[j] / static_cast<double>(H);
            for (size_t e = 0; e < p.size(); ++e) {
              mean_p[e] += p[e] / static_cast<double>(H);
              mean_l[e] += l[e] / static_cast<double>(H);
            }
          }
          merged += K - static_cast<int64_t>(total.size());
          Row weights(kExperts, -1);
          for (const auto& [e, w] : total) weights[static_cast<size_t>(e)] = w;
          const Ids ids = naive::best(weights, total.size());
          naive::expect_pairs(routing, t, ids, naive::at_ids(weights, ids));
          naive::expect_row(routing.scores_TE[t], mean_p);
          naive::expect_row(routing.logits_TE[t], mean_l);
        }
      }
  EXPECT_GT(merged, 0) << "no expert was chosen by two heads: nothing was merged";
}

TEST(PerHeadRouter, OneHeadOfTheWholeTokenIsPlainTopK) {
  const Tensor x_TD = normal({kTokens, kWidth}, 2);
  const auto router =
      make(3, settings_of({{"heads", 1}, {"reads", "token"}, {"renormalise", true}}));
  const auto plain =
      naive::make("topk", {.d_model = kWidth, .num_experts = kExperts, .top_k = 3}, {});
  {
    const at::NoGradGuard no_grad;
    naive::state_of(*plain, "weight").copy_(naive::state_of(*router, "weight"));
  }
  const Routing a = router->forward(x_TD, {}), b = plain->forward(x_TD, {});
  EXPECT_TRUE(at::equal(a.experts_N, b.experts_N));
  EXPECT_TRUE(at::allclose(a.weights_N, b.weights_N));
}

TEST(PerHeadRouter, GradientsOfMergedPairsAgreeWithCentralDifferences) {
  for (const std::string reads : {"slice", "token"}) {
    const auto router = make(4, settings_of({{"reads", reads}, {"heads", 2}}));
    const Tensor x_TD = normal({6, kWidth}, 1);
    EXPECT_LT(router->forward(x_TD, {}).pairs(), 24) << "no pair is merged";
    std::vector<Tensor> inputs = {x_TD};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                           inputs);
  }
}

TEST(PerHeadRouter, KeepsTheExpertsOfATokenOfNaN) {
  const auto router = make(2, {});
  Tensor x_TD = normal({3, kWidth}, 1);
  x_TD[1].fill_(std::nan(""));
  const Routing routing = router->forward(x_TD, {});
  EXPECT_FALSE(test::experts_by_token(routing)[1].empty()) << "a NaN would vanish";
  EXPECT_TRUE(test::weights_of(routing, 1).isnan().all().item<bool>());
}

TEST(PerHeadRouter, RefusesHeadsThatDoNotFit) {
  EXPECT_ERROR(make(3, settings_of({{"heads", 2}})),
               "expected top_k to be a multiple of heads=2, got 3");
  EXPECT_ERROR(make(2, settings_of({{"heads", -1}})), "expected heads >= 0, got -1");
  EXPECT_ERROR(make(2, settings_of({{"reads", "slices"}})), "Did you mean 'slice'?");
  EXPECT_ERROR(routers().at("per_head").make({.d_model = 2, .num_experts = 4, .top_k = 4}, {}),
               "expected at most d_model=2 heads, each with a slice of the token, got 4");
  EXPECT_NE(make(2, settings_of({{"renormalise", true}}))->untrained(), "");
  EXPECT_EQ(make(2, {})->untrained(), "");
}

}  // namespace

}  // namespace moe::routing::per_head_test
