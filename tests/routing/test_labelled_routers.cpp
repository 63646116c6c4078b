// Routers that look at the domains of tokens, against loops: task_adaptive, domain_aware,
// cross_modal. T tokens, D width, E experts, K choices per token, M tasks, domains or modalities.
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/tensor.h>

namespace moe::routing::labelled_routers_test {

namespace {

using moe::test::normal;
using naive::Ids;
using naive::Row;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kTokens = 9, kWidth = 5, kExperts = 6, kLabels = 3;
const std::vector<int64_t> kDomains = {0, 1, 2, -1, 2, 0, 1, -1, 1};

std::shared_ptr<Router> make(const std::string& kind, const Table& settings, int64_t top_k = 2) {
  const auto router =
      naive::make(kind, {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k}, settings);
  test::randomise(*router, 3, 0.7);
  return router;
}

LayerContext labelled(const std::vector<int64_t>& domains = kDomains, int64_t count = kLabels) {
  LayerContext context;
  context.tokens.domains_T = at::tensor(domains, at::kLong);
  context.tokens.num_domains = count;
  return context;
}

double sigmoid(double v) {
  return 1 / (1 + std::exp(-v));
}

/// Every token has the rule's choice of `logits`, which are the routing's too.
void expect_choices(const Routing& routing, const std::vector<Row>& logits,
                    const naive::SelectionRule& rule = {}) {
  for (int64_t t = 0; t < kTokens; ++t) {
    naive::expect_row(routing.logits_TE[t], logits[static_cast<size_t>(t)]);
    naive::expect_softmax_rule(routing, t, logits[static_cast<size_t>(t)], 2, rule);
  }
}

// ---- task_adaptive
// -------------------------------------------------------------------------------

std::vector<Row> blended(Router& router, const Tensor& x_TD, const std::vector<int64_t>& task_T) {
  const auto x = naive::rows_of(x_TD), base = naive::linear(x, state_of(router, "weight"));
  const auto own = naive::rows_of(state_of(router, "task_weight"));
  const Tensor sensitivity = state_of(router, "tasks.sensitivity");
  auto out = base;
  for (size_t t = 0; t < out.size(); ++t) {
    const int64_t m = task_T[t];
    if (m < 0) continue;
    const double s = sigmoid(sensitivity[m].item<double>());
    for (size_t e = 0; e < kExperts; ++e) {
      double task = 0;
      for (size_t d = 0; d < kWidth; ++d)
        task += own[e][static_cast<size_t>(m) * kWidth + d] * x[t][d];
      out[t][e] = (1 - s) * base[t][e] + s * task;
    }
  }
  return out;
}

std::vector<Row> embedded(Router& router, const Tensor& x_TD, const std::vector<int64_t>& task_T) {
  auto x = naive::rows_of(x_TD);
  const auto v = naive::rows_of(state_of(router, "tasks.embedding"));
  for (size_t t = 0; t < x.size(); ++t)
    for (size_t d = 0; d < kWidth && task_T[t] >= 0; ++d)
      x[t][d] += v[static_cast<size_t>(task_T[t])][d];
  return naive::linear(x, state_of(router, "weight"));
}

TEST(TaskAdaptiveRouter, AgreesWithItsNaiveTwinInBothForms) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const std::string form : {"blend", "embedding"})
    for (const auto& rule : naive::selection_rules(1.5)) {
      const auto router = make("task_adaptive", settings_of({{"tasks", kLabels},
                                                             {"form", form},
                                                             {"renormalise", rule.renormalise},
                                                             {"softmax", rule.softmax},
                                                             {"scale", rule.scale}}));
      const auto logits = form == "blend" ? blended : embedded;
      expect_choices(router->forward(x_TD, labelled()), logits(*router, x_TD, kDomains), rule);
      // Without labels: the base alone.
      const std::vector<int64_t> none(kTokens, -1);
      const auto base = naive::linear(naive::rows_of(x_TD), state_of(*router, "weight"));
      expect_choices(router->forward(x_TD, {}), base, rule);
      expect_choices(router->forward(x_TD, labelled(none)), base, rule);
    }
}

TEST(TaskAdaptiveRouter, StartsHalfwayOrAtTheBase) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const RouterShape shape = {.d_model = kWidth, .num_experts = kExperts, .top_k = 2};
  const auto blend = naive::make("task_adaptive", shape, settings_of({{"tasks", kLabels}}));
  EXPECT_TRUE(state_of(*blend, "tasks.sensitivity").eq(0).all().item<bool>());
  const auto embedding =
      naive::make("task_adaptive", shape, settings_of({{"tasks", kLabels}, {"form", "embedding"}}));
  EXPECT_TRUE(at::equal(embedding->forward(x_TD, labelled()).logits_TE,
                        embedding->forward(x_TD, {}).logits_TE));
}

// ---- domain_aware
// --------------------------------------------------------------------------------

TEST(DomainAwareRouter, AgreesWithItsNaiveTwinWithAndWithoutLabels) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const bool labels : {false, true}) {
    const auto router =
        make("domain_aware", settings_of({{"domains", kLabels}, {"labels", labels}}));
    const auto x = naive::rows_of(x_TD);
    const auto z = naive::linear(x, state_of(*router, "classifier.weight"),
                                 state_of(*router, "classifier.bias"));
    const auto affinity = naive::rows_of(state_of(*router, "affinity"));
    auto logits = naive::linear(x, state_of(*router, "weight"));
    for (size_t t = 0; t < logits.size(); ++t) {
      Row p = naive::softmax(z[t]);
      if (labels && kDomains[t] >= 0) {
        p.assign(kLabels, 0);
        p[static_cast<size_t>(kDomains[t])] = 1;
      }
      for (size_t e = 0; e < kExperts; ++e) logits[t][e] += naive::dot(p, affinity[e]);
    }
    const Routing routing = router->forward(x_TD, labelled());
    expect_choices(routing, logits);
    for (int64_t t = 0; t < kTokens; ++t)
      naive::expect_row(routing.domain_logits_TM[t], z[static_cast<size_t>(t)]);
  }
}

TEST(DomainAwareRouter, NeedsNoLabels) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const auto labels = make("domain_aware", settings_of({{"labels", true}})),
             learned = make("domain_aware", {});
  EXPECT_TRUE(at::equal(labels->forward(x_TD, {}).logits_TE, learned->forward(x_TD, {}).logits_TE));
  // More domains of the data than the classifier knows do not matter to who looks at none.
  EXPECT_TRUE(at::equal(learned->forward(x_TD, labelled(kDomains, 9)).logits_TE,
                        learned->forward(x_TD, {}).logits_TE));
}

// ---- cross_modal
// ---------------------------------------------------------------------------------

TEST(CrossModalRouter, AgreesWithItsNaiveTwin) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  const std::vector<std::set<int64_t>> allowed = {{0, 1, 2}, {0, 1, 2, 3, 4, 5}, {1, 4, 5}};
  for (const bool limited : {false, true})
    for (const int64_t width : {0, 3}) {
      Table settings =
          settings_of({{"modalities", kLabels}, {"projection", width}, {"unlabelled", 2}});
      if (limited) settings.set("allowed", Array{"0-2", "", "1,4-5"});
      const auto router = make("cross_modal", settings);
      const size_t P = width > 0 ? static_cast<size_t>(width) : kWidth;
      const auto x = naive::rows_of(x_TD),
                 projections = naive::rows_of(state_of(*router, "projections.weight"));
      ASSERT_EQ(projections.size(), kLabels * P);
      std::vector<Row> projected;
      for (size_t t = 0; t < x.size(); ++t) {
        const auto m = static_cast<size_t>(kDomains[t] >= 0 ? kDomains[t] : 2);
        projected.emplace_back();
        for (size_t p = 0; p < P; ++p)
          projected.back().push_back(naive::dot(projections[m * P + p], x[t]));
      }
      const auto logits = naive::linear(projected, state_of(*router, "weight"));
      const Routing routing = router->forward(x_TD, labelled());
      for (int64_t t = 0; t < kTokens; ++t) {
        const auto at = static_cast<size_t>(t);
        const auto m = static_cast<size_t>(kDomains[at] >= 0 ? kDomains[at] : 2);
        naive::expect_row(routing.logits_TE[t], logits[at]);
        Row masked = logits[at];
        for (int64_t e = 0; limited && e < kExperts; ++e)
          if (!allowed[m].count(e)) masked[static_cast<size_t>(e)] = -INFINITY;
        naive::expect_softmax_rule(routing, t, masked, 2, {});
      }
    }
}

TEST(CrossModalRouter, KeepsModalitiesApartInFloat32AndItsGradientsToo) {
  Table settings = settings_of({{"modalities", 2}, {"renormalise", false}});
  settings.set("allowed", Array{"0-2", "3-5"});
  const auto router = make("cross_modal", settings);
  router->to(at::kFloat);
  const std::vector<int64_t> modality = {0, 1, 0, 1, 1, 0, 0, 1, 1};
  const Routing routing =
      router->forward(normal({kTokens, kWidth}, 2).to(at::kFloat), labelled(modality, 2));
  const auto chosen = test::experts_by_token(routing);
  for (size_t t = 0; t < chosen.size(); ++t)
    for (const int64_t e : chosen[t]) EXPECT_EQ(e / 3, modality[t]);
  (routing.weights_N.sum() + routing.scores_TE.square().sum()).backward();
  for (const Tensor& parameter : router->parameters())
    EXPECT_TRUE(parameter.grad().isfinite().all().item<bool>());
}

TEST(CrossModalRouter, RefusesAllowedExpertsThatDoNotFit) {
  const auto with = [&](const Array& allowed, int64_t top_k = 2) {
    Table settings = settings_of({{"modalities", 2}});
    settings.set("allowed", allowed);
    make("cross_modal", settings, top_k);
  };
  with({"0-1", "5,3"});
  EXPECT_ERROR(with({"0-1"}), "expected one entry of allowed for each of modalities=2, got 1");
  EXPECT_ERROR(with({"0-1", "2-6"}),
               "expected allowed experts below num_experts=6, got 6 in \"2-6\"");
  EXPECT_ERROR(with({"0-1", "2-4"}, 3),
               "expected at least top_k=3 allowed experts for each modality, got 2 for modality 0");
  for (const std::string wrong :
       {"a", "1-", "-1", "3-1", "1,,2", "1 ", "0-1,", "99999999999999999999"})
    EXPECT_ERROR(with({"0-1", wrong}), "expected numbers and rising ranges of experts in allowed");
  EXPECT_ERROR(make("cross_modal", settings_of({{"unlabelled", 1}})),
               "expected unlabelled in [-1, modalities=1), got 1");
  EXPECT_ERROR(make("cross_modal", settings_of({{"modalities", 0}})),
               "expected modalities >= 1, got 0");
}

TEST(CrossModalRouter, RefusesTokensOfNoModalityWhereNoneIsUsual) {
  const auto router = make("cross_modal", settings_of({{"modalities", 3}, {"unlabelled", -1}}));
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  EXPECT_ERROR(router->forward(x_TD, {}), "expected the modality of each token");
  EXPECT_ERROR(router->forward(x_TD, labelled()), "expected the modality of each token");
  EXPECT_EQ(router->forward(x_TD.slice(0, 0, 0), {}).tokens(), 0);
  const std::vector<int64_t> all = {0, 1, 2, 0, 1, 2, 0, 1, 2};
  EXPECT_EQ(router->forward(x_TD, labelled(all)).tokens(), kTokens);
}

// ---- all
// -----------------------------------------------------------------------------------------

struct Case {
  std::string kind, count;
  Table settings;
};

std::vector<Case> cases() {
  Table modal = settings_of({{"modalities", kLabels}, {"projection", 4}});
  modal.set("allowed", Array{"0-3", "", "2-5"});
  return {{"task_adaptive", "tasks", settings_of({{"tasks", kLabels}})},
          {"task_adaptive", "tasks", settings_of({{"tasks", kLabels}, {"form", "embedding"}})},
          {"domain_aware", "domains", settings_of({{"domains", kLabels}, {"labels", true}})},
          {"cross_modal", "modalities", modal}};
}

TEST(LabelledRouters, GradientsOfLabelledTokensReachEveryParameter) {
  for (const auto& [kind, count, settings] : cases()) {
    SCOPED_TRACE(kind);
    const auto router = make(kind, settings);
    std::vector<Tensor> inputs = {normal({kTokens, kWidth}, 1)};
    for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
    const auto weights = [&](const auto& in) {
      return router->forward(in[0], labelled()).weights_N;
    };
    test::expect_gradients(weights, inputs);
    const Tensor scalar = (weights(inputs) * normal({kTokens * 2}, 5)).sum();
    for (const auto& gradient :
         torch::autograd::grad({scalar}, router->parameters(), {}, {}, false, true)) {
      ASSERT_TRUE(gradient.defined());
      EXPECT_GT(gradient.abs().max().item<double>(), 1e-6);
    }
  }
}

TEST(LabelledRouters, GiveATokenWhatItGetsAlone) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& [kind, count, settings] : cases()) {
    SCOPED_TRACE(kind);
    const auto router = make(kind, settings);
    const Routing all = router->forward(x_TD, labelled());
    for (int64_t t = 0; t < kTokens; ++t) {
      const Routing one =
          router->forward(x_TD.slice(0, t, t + 1), labelled({kDomains[static_cast<size_t>(t)]}));
      EXPECT_EQ(test::experts_by_token(one)[0],
                test::experts_by_token(all)[static_cast<size_t>(t)]);
      EXPECT_TRUE(at::allclose(one.weights_N, test::weights_of(all, t)));
    }
  }
}

TEST(LabelledRouters, RefuseLabelsThatTheyHaveNoParametersFor) {
  const Tensor x_TD = normal({kTokens, kWidth}, 1);
  for (const auto& [kind, count, settings] : cases()) {
    SCOPED_TRACE(kind);
    const auto router = make(kind, settings);
    EXPECT_ERROR(router->forward(x_TD, labelled(kDomains, 4)),
                 concat("expected ", count, " of at least the 4 domains of the data, got 3. Set ",
                        count, " = 4."));
    EXPECT_ERROR(router->forward(x_TD, labelled({0, 1})), "expected domains_T to be int64");
    std::vector<int64_t> wrong = kDomains;
    for (const int64_t label : {3, -2}) {
      wrong[4] = label;
      EXPECT_ERROR(router->forward(x_TD, labelled(wrong)),
                   concat("expected domains in [-1, ", count));
    }
  }
  EXPECT_ERROR(make("task_adaptive", {})->forward(x_TD, labelled()), "Set tasks = 3.");
  EXPECT_ERROR(make("task_adaptive", settings_of({{"tasks", -1}})), "expected tasks >= 0, got -1");
  EXPECT_ERROR(make("task_adaptive", settings_of({{"form", "blended"}})), "Did you mean 'blend'?");
  EXPECT_ERROR(make("domain_aware", settings_of({{"domains", 0}})), "expected domains >= 1, got 0");
}

}  // namespace

}  // namespace moe::routing::labelled_routers_test
