// Routers that confine a token to a few groups of experts against loops. T tokens, D width,
// E experts, G groups, K choices per token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace moe::routing::group_limit_test {

namespace {

using moe::test::experts_by_token;
using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kTokens = 40, kWidth = 5, kExperts = 12;

std::shared_ptr<Router> make(const std::string& kind, int64_t top_k, const Table& settings = {}) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
}

Table limit(int64_t groups, int64_t kept, const std::string& score) {
  return settings_of({{"groups", groups}, {"kept_groups", kept}, {"group_score", score}});
}

/// The K best ids among those of the best groups.
Ids best_in_groups(const Row& values, size_t groups, size_t kept, const std::string& score,
                   size_t k) {
  const size_t size = values.size() / groups;
  Row group_scores;
  for (size_t g = 0; g < groups; ++g) {
    Row group(values.begin() + static_cast<std::ptrdiff_t>(g * size),
              values.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    group_scores.push_back(score == "max" || size == 1 ? group[0] : group[0] + group[1]);
  }
  std::vector<bool> open(groups);
  for (const int64_t g : naive::best(group_scores, kept)) open[static_cast<size_t>(g)] = true;
  Row limited = values;
  for (size_t e = 0; e < limited.size(); ++e)
    if (!open[e / size]) limited[e] = -INFINITY;
  return naive::best(limited, k);
}

TEST(GroupLimit, SoftmaxTopKAgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const std::string score : {"max", "best_two"})
    for (const bool renormalise : {true, false}) {
      SCOPED_TRACE(score);
      Table settings = limit(4, 2, score);
      settings.set("renormalise", renormalise);
      settings.set("temperature", 0.7);
      const auto router = make("topk", 3, settings);
      const Routing routing = router->forward(x_TD, {});
      const auto logits = naive::linear_logits(*router, x_TD);
      int64_t moved = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        Row scaled = logits[static_cast<size_t>(t)];
        for (double& l : scaled) l /= 0.7;
        const Row p = naive::softmax(scaled);
        const Ids ids = best_in_groups(p, 4, 2, score, 3);
        moved += ids != naive::best(p, 3);
        const Row weights = naive::at_ids(p, ids);
        naive::expect_pairs(routing, t, ids,
                            renormalise ? naive::divided_by_sum(weights) : weights);
        naive::expect_row(routing.scores_TE[t], p);
        naive::expect_row(routing.logits_TE[t], logits[static_cast<size_t>(t)]);
      }
      EXPECT_GT(moved, 0) << "the limit never mattered";
    }
}

TEST(GroupLimit, SigmoidAgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1), bias_E = normal({kExperts}, 9) * 0.3;
  for (const std::string score : {"max", "best_two"}) {
    SCOPED_TRACE(score);
    const auto router = make("sigmoid", 3, limit(3, 2, score));
    state_of(*router, "selection_bias").copy_(bias_E);
    const Routing routing = router->forward(x_TD, {});
    const auto logits = naive::linear_logits(*router, x_TD);
    const Row bias = naive::rows_of(bias_E.unsqueeze(0))[0];
    int64_t moved = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      Row s, biased;
      for (size_t e = 0; e < kExperts; ++e) {
        s.push_back(1 / (1 + std::exp(-logits[static_cast<size_t>(t)][e])));
        biased.push_back(s[e] + bias[e]);
      }
      const Ids ids = best_in_groups(biased, 3, 2, score, 3);
      moved += ids != naive::best(biased, 3);
      naive::expect_pairs(routing, t, ids, naive::divided_by_sum(naive::at_ids(s, ids)));
      naive::expect_row(routing.scores_TE[t], s);
    }
    EXPECT_GT(moved, 0) << "the limit never mattered";
  }
}

TEST(GroupLimit, SigmoidScoresGroupsByTheirBestTwoUnlessToldOtherwise) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto choose = [&](const std::string& kind, const Table& settings) {
    return experts_by_token(make(kind, 2, settings)->forward(x_TD, {}));
  };
  const auto unsaid = settings_of({{"groups", 3}, {"kept_groups", 1}});
  EXPECT_EQ(choose("sigmoid", unsaid), choose("sigmoid", limit(3, 1, "best_two")));
  EXPECT_NE(choose("sigmoid", unsaid), choose("sigmoid", limit(3, 1, "max")));
  EXPECT_EQ(choose("topk", unsaid), choose("topk", limit(3, 1, "max")));
  EXPECT_NE(choose("topk", unsaid), choose("topk", limit(3, 1, "best_two")));
}

TEST(GroupLimit, AllGroupsOrGroupsOfOneExpertChangeNothing) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const std::string kind : {"topk", "sigmoid"})
    for (const std::string score : {"max", "best_two"}) {
      const Routing plain = make(kind, 3)->forward(x_TD, {});
      for (const auto& settings :
           {limit(1, 1, score), limit(4, 4, score), limit(kExperts, 3, score)}) {
        const Routing routing = make(kind, 3, settings)->forward(x_TD, {});
        EXPECT_TRUE(at::equal(routing.experts_N, plain.experts_N));
        EXPECT_TRUE(at::equal(routing.weights_N, plain.weights_N));
      }
    }
}

TEST(GroupLimit, TiesGoToTheLowestGroup) {
  for (const std::string kind : {"topk", "sigmoid"}) {
    const auto router = make(kind, 4, limit(4, 2, "best_two"));
    for (const Ids& chosen : experts_by_token(router->forward(at::zeros({2, kWidth}), {})))
      EXPECT_EQ(chosen, (Ids{0, 1, 2, 3}));
  }
}

TEST(GroupLimit, KeptGroupsMayHoldExactlyTheChoicesAndTokensMayBeNan) {
  Tensor x_TD = normal({kTokens, kWidth}, 1).to(at::kFloat);
  x_TD[2].fill_(NAN);
  for (const std::string kind : {"topk", "sigmoid"})
    for (const std::string score : {"max", "best_two"}) {
      const auto router = test::make_router(
          kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = 6}, limit(4, 2, score));
      const Routing routing = router->forward(x_TD, {});
      test::expect_valid(routing, kTokens, kExperts);
      EXPECT_TRUE(routing.weights_N.slice(0, 18).isfinite().all().item<bool>());
      EXPECT_TRUE(test::weights_of(routing, 2).isnan().all().item<bool>());
      test::expect_valid(router->forward(x_TD.slice(0, 0, 0), {}), 0, kExperts);
    }
}

TEST(GroupLimit, GradientsAgreeWithCentralDifferences) {
  for (const std::string kind : {"topk", "sigmoid"}) {
    const auto router = make(kind, 3, limit(4, 2, "best_two"));
    const std::vector<Tensor> inputs = {normal({4, kWidth}, 1), state_of(*router, "weight")};
    test::expect_gradients([&](const auto& in) { return router->forward(in[0], {}).weights_N; },
                           inputs);
  }
}

TEST(GroupLimit, RefusesGroupsThatCannotServe) {
  for (const std::string kind : {"topk", "sigmoid"}) {
    EXPECT_ERROR(make(kind, 2, limit(5, 2, "max")), "groups=5 for num_experts=12");
    EXPECT_ERROR(make(kind, 4, limit(4, 1, "max")), "kept_groups=1 with 3");
    EXPECT_ERROR(make(kind, 2, limit(4, 5, "max")), "kept_groups in [1, groups=4], got 5");
    EXPECT_ERROR(make(kind, 2, settings_of({{"groups", 4}})), "Say among how many groups");
    EXPECT_ERROR(make(kind, 2, limit(0, 0, "max")), "expected groups >= 1, got 0");
    EXPECT_ERROR(make(kind, 2, limit(4, 2, "best_tow")), "Did you mean 'best_two'?");
  }
}

}  // namespace

}  // namespace moe::routing::group_limit_test
