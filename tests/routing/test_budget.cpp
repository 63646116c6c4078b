// What a compute budget leaves of a routing, against loops. T tokens, D width, E experts, K choices
// per token.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <moe/routing/budget.h>

namespace moe::routing::budget_test {

namespace {

using moe::test::experts_by_token;
using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;

constexpr int64_t kTokens = 12, kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(const std::string& kind, int64_t top_k, const Table& settings = {}) {
  return naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
}

LayerContext at_budget(double budget) {
  LayerContext context;
  context.budget = budget;
  return context;
}

Routing routed(Router& router, const Tensor& x_TD, double budget) {
  const LayerContext context = at_budget(budget);
  return within_budget(router.forward(x_TD, context), router, context);
}

TEST(Budget, KeepsTheNearestNumberOfChoicesAndOneAtLeast) {
  EXPECT_EQ(kept_choices(8, 1), 8);
  EXPECT_EQ(kept_choices(8, 0.5), 4);
  EXPECT_EQ(kept_choices(8, 0.01), 1);
  EXPECT_EQ(kept_choices(2, 0.75), 2);
  EXPECT_EQ(kept_choices(2, 0.74), 1);
  EXPECT_EQ(kept_choices(3, 0.5), 2);
}

TEST(Budget, OfOneGivesTheRoutingItself) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const std::string kind : {"topk", "top_p", "expert_choice", "dense"}) {
    const auto router = make(kind, 3);
    const Routing all = router->forward(x_TD, {}), same = within_budget(all, *router, {});
    EXPECT_TRUE(same.experts_N.is_same(all.experts_N));
    EXPECT_TRUE(same.weights_N.is_same(all.weights_N));
    EXPECT_TRUE(same.offsets.is_same(all.offsets));
  }
}

/// Each token has the first of its choices, with weights whose sum stays where `shares`.
void expect_first_choices(const Routing& all, const Routing& kept, double budget, int64_t top_k,
                          bool shares) {
  test::expect_valid(kept, kTokens, kExperts);
  for (int64_t t = 0; t < kTokens; ++t) {
    Ids ids = experts_by_token(all)[static_cast<size_t>(t)];
    const int64_t n = top_k > 0 ? top_k : static_cast<int64_t>(ids.size());
    const auto left = std::min<int64_t>(static_cast<int64_t>(ids.size()), kept_choices(n, budget));
    ids.resize(static_cast<size_t>(left));
    const Tensor weights = test::weights_of(all, t);
    Row expected;
    for (int64_t j = 0; j < left; ++j) expected.push_back(weights[j].item<double>());
    if (shares) {
      expected = naive::divided_by_sum(expected);
      for (double& w : expected) w *= weights.sum().item<double>();
    }
    naive::expect_pairs(kept, t, ids, expected);
  }
}

TEST(Budget, KeepsTheFirstChoicesOfEveryRouterWithTheirSumWhereItIsFixed) {
  const Tensor x_TD = 2 * normal({kTokens, kWidth}, 1);
  struct Case {
    std::string kind;
    Table settings;
    bool shares;
  };
  for (const auto& [kind, settings, shares] : std::vector<Case>{
           {"topk", {}, true},
           {"topk", settings_of({{"renormalise", false}}), false},
           {"topk", settings_of({{"softmax", "after"}, {"scale", 2.5}}), true},
           {"sigmoid", settings_of({{"scale", 2.5}}), true},
           {"sigmoid", settings_of({{"renormalise", false}}), false},
           {"noisy_topk", {}, true},
           {"vmoe", {}, false},
           {"hash", {}, true},
           {"forced_balance", {}, true},
           {"gshard", settings_of({{"second", "threshold"}, {"threshold", 0.3}}), false},
           {"hierarchical", {}, false},
           {"hierarchical", settings_of({{"renormalise", true}, {"renormalise_clusters", true}}),
            true},
           {"per_head", {}, false},
           {"per_head", settings_of({{"heads", 1}, {"renormalise", true}}), true},
           {"task_adaptive", {}, true},
           {"top_p", settings_of({{"p", 0.7}}), false},
           {"top_p", settings_of({{"p", 0.7}, {"renormalise", true}}), true},
           {"threshold", settings_of({{"threshold", 0.05}}), false}})
    for (const double budget : {0.26, 0.5, 0.9}) {
      SCOPED_TRACE(concat(kind, ' ', shares, ' ', budget));
      const auto router = make(kind, 4, settings);
      const Routing all = router->forward(x_TD, {}), kept = routed(*router, x_TD, budget);
      expect_first_choices(all, kept, budget, router->takes_top_k() ? 4 : 0, shares);
      EXPECT_EQ(kept.choices > 0, all.choices > 0);
      if (all.choices > 0) {
        EXPECT_EQ(kept.choices, kept_choices(4, budget));
      }
    }
}

TEST(Budget, GivesWhatARouterOfFewerChoicesGives) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const std::string kind :
       {"topk", "sigmoid", "mlp", "cosine", "scaled_topk", "vmoe", "task_adaptive"}) {
    SCOPED_TRACE(kind);
    const auto four = make(kind, 4), two = make(kind, 2);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < two->parameters().size(); ++i)
      Tensor(two->parameters()[i]).copy_(four->parameters()[i]);
    const Routing kept = routed(*four, x_TD, 0.5), fewer = two->forward(x_TD, {});
    EXPECT_TRUE(at::equal(kept.experts_N, fewer.experts_N));
    EXPECT_TRUE(at::allclose(kept.weights_N, fewer.weights_N, 1e-12, 1e-14));
    EXPECT_TRUE(at::equal(kept.offsets, fewer.offsets));
  }
}

TEST(Budget, OfTheDenseRouterKeepsTheBestExperts) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto dense = make("dense", 1);
  const Routing kept = routed(*dense, x_TD, 0.5);
  const auto logits = naive::linear_logits(*dense, x_TD);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Row p = naive::softmax(logits[static_cast<size_t>(t)]);
    const Ids ids = naive::best(p, 3);
    naive::expect_pairs(kept, t, ids, naive::divided_by_sum(naive::at_ids(p, ids)));
  }
}

TEST(Budget, GradientsOfGrownWeightsAgreeWithCentralDifferences) {
  for (const std::string kind : {"topk", "top_p"}) {
    const auto router = kind == "topk"
                            ? make(kind, 4)
                            : make(kind, 4, settings_of({{"p", 0.7}, {"renormalise", true}}));
    std::vector<Tensor> inputs = {2 * normal({6, kWidth}, 1)};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    test::expect_gradients([&](const auto& in) { return routed(*router, in[0], 0.5).weights_N; },
                           inputs);
  }
}

TEST(Budget, ServesNoTokenAndWeightsOfZero) {
  for (const std::string kind : {"topk", "top_p"})
    EXPECT_EQ(routed(*make(kind, 4), normal({0, kWidth}, 1), 0.5).pairs(), 0) << kind;
  const auto router = make("topk", 2);
  Routing routing = router->forward(normal({1, kWidth}, 1), {});
  routing.weights_N = at::tensor({0.0, 1.0}, at::kDouble);
  const Routing kept = within_budget(routing, *router, at_budget(0.5));
  EXPECT_EQ(kept.weights_N.item<double>(), 0);
}

TEST(Budget, IsRefusedOutOfRangeAndWhereNoChoiceComesFirst) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const double budget : {0.0, -0.5, 1.5, std::nan("")})
    EXPECT_ERROR(routed(*make("topk", 2), x_TD, budget), "expected a budget in (0, 1], got ");
  EXPECT_ERROR(routed(*make("expert_choice", 2), x_TD, 0.5),
               "expected a budget of 1 for a router whose pairs stand in no order of choice, got "
               "0.5");
}

}  // namespace

}  // namespace moe::routing::budget_test
