// Capacity: how much room there is, what moved pairs weigh, and what is refused.
// T tokens, E experts, K choices per token, S tokens a group.
#include <tests/capacity/naive.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <tests/support/routers.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/base/fields.h>

namespace moe::capacity::capacity_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::experts_by_token;
using moe::test::normal;
using naive::numbers_of;
using Ids = std::vector<int64_t>;

LayerContext training(const Sequences& sequences = {}) {
  return {{.training = true, .random = {.seed = 5, .step = 2}}, {.sequences = sequences}};
}

/// Room of a group of `tokens` in training.
int64_t room(const CapacityOptions& options, int64_t tokens, int64_t experts, double choices) {
  return Capacity({.num_experts = experts, .choices = choices}, options)
      .room(at::full({1}, tokens, at::kLong), /*training=*/true)
      .item<int64_t>();
}

/// Every token chooses experts_TK, with falling weights and scores.
Routing routing_of(const Tensor& experts_TK, int64_t experts) {
  const int64_t T = experts_TK.size(0), K = experts_TK.size(1);
  const Tensor scores_TE = at::softmax(normal({T, experts}, 8), 1);
  Routing routing = fixed_choices(experts_TK, scores_TE.gather(1, experts_TK), experts);
  routing.logits_TE = scores_TE.log();
  routing.scores_TE = scores_TE;
  EXPECT_EQ(routing.pairs(), T * K);
  return routing;
}

TEST(CapacityRoom, IsFactorTimesChoicesTimesTokensOverExperts) {
  EXPECT_EQ(room({.factor = 1.25}, 1000, 8, 1), 157);
  EXPECT_EQ(room({.factor = 1.25, .rounding = "floor"}, 1000, 8, 1), 156);
  EXPECT_EQ(room({.factor = 1.25, .count_k = false, .rounding = "floor"}, 1000, 8, 2), 156);
  EXPECT_EQ(room({.factor = 1.25, .rounding = "floor"}, 1000, 8, 2), 312);
  EXPECT_EQ(room({.factor = 1.25, .rounding = "nearest"}, 1000, 8, 2), 312);
  EXPECT_EQ(room({.factor = 1}, 12, 8, 1.5), 3);
}

TEST(CapacityRoom, IsAtLeastTheMinimumAndForgivesRoundingErrors) {
  EXPECT_EQ(room({.factor = 1e-12}, 1000, 8, 1), 1);
  EXPECT_EQ(room({.factor = 1, .rounding = "floor", .minimum = 4}, 3, 8, 1), 4);
  EXPECT_EQ(room({.factor = 1}, 0, 8, 1), 1);
  EXPECT_EQ(room({.limit = 5}, 1000, 8, 1), 5);
  EXPECT_GT(1.1 * 100 / 10, 11);
  EXPECT_EQ(room({.factor = 1.1}, 100, 10, 1), 11);
  EXPECT_EQ(room({.factor = 1e300}, 100, 10, 4), 100);
}

TEST(Capacity, IsOffByDefaultAndHasAFactorOfItsOwnInEvaluation) {
  const Routing routing = routing_of(at::zeros({6, 1}, at::kLong), 4);
  const auto kept = [&](const CapacityOptions& options, bool training) {
    const Routing out =
        Capacity({.num_experts = 4}, options).apply(routing, {{.training = training}});
    if (out.dropped().item<int64_t>() == 0) {
      EXPECT_TRUE(out.experts_N.is_same(routing.experts_N));
      EXPECT_TRUE(out.weights_N.is_same(routing.weights_N));
    }
    return out.counts_E()[0].item<int64_t>();
  };
  EXPECT_EQ(kept({}, true), 6);
  EXPECT_EQ(kept({}, false), 6);
  EXPECT_EQ(kept({.factor = 2}, true), 3);
  EXPECT_EQ(kept({.factor = 2}, false), 6);
  EXPECT_EQ(kept({.factor = 2, .eval_factor = 1}, false), 2);
  EXPECT_EQ(kept({.limit = 5}, true), 5);
  EXPECT_EQ(kept({.limit = 5}, false), 5);
}

TEST(Capacity, FirstChoicesComeBeforeSecondOnesUnlessTokensGoOneByOne) {
  const Routing routing = routing_of(at::tensor({0, 1, 1, 0, 1, 0}, at::kLong).reshape({3, 2}), 2);
  const auto left = [&](const std::string& order) {
    return experts_by_token(
        Capacity({.num_experts = 2}, {.limit = 2, .order = order}).apply(routing, training()));
  };
  EXPECT_EQ(left("choice"), (std::vector<Ids>{{0}, {1, 0}, {1}}));
  EXPECT_EQ(left("token"), (std::vector<Ids>{{0, 1}, {1, 0}, {}}));
}

TEST(Capacity, OneByOneNoTokenDependsOnLaterOnes) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    naive::Trial t = naive::trial(seed);
    t.options = {.limit = 2, .order = "token", .overflow = "next_best"};
    t.context.tokens.sequences = {};
    const Capacity capacity({.num_experts = t.routing.num_experts}, t.options);
    const auto whole = experts_by_token(capacity.apply(t.routing, t.context));
    for (int64_t end = 0; end < t.routing.tokens(); ++end) {
      const auto part =
          experts_by_token(capacity.apply(naive::part_of(t.routing, 0, end), t.context));
      ASSERT_EQ(part, std::vector<Ids>(whole.begin(), whole.begin() + end)) << seed;
    }
  }
}

TEST(Capacity, RefusesToRenormaliseWeightsOnInputs) {
  Routing routing = routing_of(at::zeros({6, 1}, at::kLong), 4);
  routing.weight_on_input = true;
  EXPECT_ERROR(
      Capacity({.num_experts = 4}, {.factor = 1, .renormalise = true}).apply(routing, training()),
      "Set renormalise = false or weight_on = \"output\"");
  EXPECT_NO_THROW(Capacity({.num_experts = 4}, {.factor = 1}).apply(routing, training()));
}

TEST(Capacity, RandomOrderChangesWithSeedStepAndLayerOnly) {
  const Routing routing = routing_of(at::zeros({40, 1}, at::kLong), 2);
  const auto kept = [&](RandomKey key) {
    LayerContext context = training();
    context.random = key;
    return numbers_of<int64_t>(Capacity({.num_experts = 2}, {.limit = 20, .order = "random"})
                                   .apply(routing, context)
                                   .experts_N);
  };
  const RandomKey key{.seed = 1, .step = 2, .layer = 3};
  EXPECT_EQ(kept(key), kept(key));
  for (const RandomKey& other : {RandomKey{2, 2, 3}, RandomKey{1, 3, 3}, RandomKey{1, 2, 4}})
    EXPECT_NE(kept(key), kept(other));
  std::vector<int64_t> times(40);
  for (uint64_t step = 0; step < 400; ++step) {
    const auto experts = kept({.seed = 1, .step = step});
    for (size_t t = 0; t < times.size(); ++t) times[t] += experts[t] == 0;
  }
  for (const int64_t n : times) EXPECT_NEAR(n, 200, 50);  // five standard deviations
}

TEST(Capacity, ARowHasTheRoomThatItHasAlone) {
  const Tensor scores_TE = at::softmax(normal({17, 6}, 9), 1);
  const auto [chosen_TK, experts_TK] = scores_TE.topk(2, 1);
  Routing routing = fixed_choices(experts_TK, chosen_TK, 6);
  routing.scores_TE = routing.logits_TE = scores_TE;
  for (const std::string order : {"choice", "priority", "random", "token"})
    for (const std::string overflow : {"drop", "next_best"}) {
      const Capacity capacity({.num_experts = 6, .choices = 2},
                              {.factor = 0.8, .order = order, .overflow = overflow});
      const std::vector<int64_t> lengths = {5, 0, 1, 11};
      const Routing all = capacity.apply(routing, training(Sequences::of_lengths(lengths)));
      EXPECT_GT(all.dropped().item<int64_t>(), 0);
      int64_t begin = 0;
      for (const int64_t length : lengths) {
        LayerContext context = training();
        context.tokens.first_token = begin;
        const Routing row = capacity.apply(naive::part_of(routing, begin, begin + length), context);
        const Routing expected = naive::part_of(all, begin, begin + length);
        expect_identical(row.experts_N, expected.experts_N);
        expect_identical(row.weights_N, expected.weights_N);
        begin += length;
      }
    }
}

/// A router of float64 with logits that differ clearly.
std::shared_ptr<routing::Router> router_of(const std::string& kind, Table settings = {}) {
  const auto router = test::initialised(
      routing::routers().at(kind).make({.d_model = 5, .num_experts = 6, .top_k = 2}, settings));
  router->to(at::kDouble);
  for (auto& item : router->named_parameters())
    ops::fill_normal_(item.value(), RandomStream(4, item.key()), 1);
  return router;
}

Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

TEST(Capacity, AMovedPairWeighsWhatItsRouterWouldHaveGivenItsNewExpert) {
  const Tensor x_TD = normal({12, 5}, 1);
  const auto moved_to = [&](const std::string& kind, const Table& settings, auto expected) {
    SCOPED_TRACE(kind);
    const Routing before = router_of(kind, settings)->forward(x_TD, training());
    const Routing after = Capacity({.num_experts = 6}, {.limit = 4, .overflow = "next_best"})
                              .apply(before, training());
    int64_t moved = 0;
    for (int64_t n = 0; n < before.pairs(); ++n) {
      const int64_t t = n / 2, e = after.experts_N[n].item<int64_t>();
      if (e == before.experts_N[n].item<int64_t>() || e == 6) continue;
      ++moved;
      EXPECT_NEAR(after.weights_N[n].item<double>(), expected(before, t, e), 1e-12);
    }
    EXPECT_GT(moved, 0);
  };
  const auto probability = [](const Tensor& logits_E, int64_t e) {
    return at::softmax(logits_E, 0)[e].item<double>();
  };
  const auto sum_of_chosen = [](const Routing& r, int64_t t) {
    return r.scores_TE[t]
        .index_select(0, r.experts_N.slice(0, 2 * t, 2 * t + 2))
        .sum()
        .item<double>();
  };
  moved_to("topk", with("renormalise", false),
           [&](const Routing& r, int64_t t, int64_t e) { return probability(r.logits_TE[t], e); });
  Table scaled = with("scale", 2.5);
  moved_to("topk", scaled, [&](const Routing& r, int64_t t, int64_t e) {
    return 2.5 * probability(r.logits_TE[t], e) / sum_of_chosen(r, t);
  });
  moved_to("sigmoid", scaled, [&](const Routing& r, int64_t t, int64_t e) {
    return 2.5 * at::sigmoid(r.logits_TE[t][e]).item<double>() / sum_of_chosen(r, t);
  });
  moved_to("vmoe", with("noise", 3.0), [&](const Routing& r, int64_t t, int64_t e) {
    return probability(r.noisy_logits_TE[t], e);
  });
}

TEST(Capacity, GradientsOfWeightsAgreeWithCentralDifferences) {
  for (const std::string kind : {"topk", "sigmoid", "vmoe", "gshard"})
    for (const std::string order : {"choice", "priority", "random", "token"})
      for (const std::string overflow : {"drop", "next_best"})
        for (const bool renormalise : {false, true}) {
          SCOPED_TRACE(kind + ' ' + order + ' ' + overflow);
          const auto router = router_of(kind);
          const Capacity capacity(
              {.num_experts = 6},
              {.limit = 2, .order = order, .overflow = overflow, .renormalise = renormalise});
          const auto weights = [&](const std::vector<Tensor>& in) {
            return capacity.apply(router->forward(in[0], training()), training()).weights_N;
          };
          test::expect_gradients(weights, {normal({7, 5}, 1)});
        }
}

TEST(Capacity, NaNRanksLastAndIsNotHidden) {
  const double nan = std::nan("");
  Routing routing = routing_of(at::zeros({3, 1}, at::kLong), 3);
  routing.weights_N = at::tensor({nan, 0.5, 0.9}, at::kDouble);
  const auto limited = [&](const CapacityOptions& options) {
    return Capacity({.num_experts = 3}, options).apply(routing, training());
  };
  EXPECT_EQ(experts_by_token(limited({.limit = 2, .order = "priority"})),
            (std::vector<Ids>{{}, {0}, {0}}));
  EXPECT_EQ(limited({.limit = 2, .order = "priority"}).weights_N[0].item<double>(), 0);
  routing.weights_N = at::full({3}, 0.5, at::kDouble);
  routing.scores_TE =
      at::tensor({0.5, nan, 0.1, 0.5, nan, nan, nan, 0.2, 0.1}, at::kDouble).reshape({3, 3});
  const Routing moved = limited({.limit = 1, .overflow = "next_best"});
  EXPECT_EQ(experts_by_token(moved), (std::vector<Ids>{{0}, {1}, {2}}));
  EXPECT_TRUE(moved.weights_N[1].isnan().item<bool>());
  EXPECT_TRUE(moved.weights_N[2].isnan().item<bool>());
}

TEST(Capacity, ScoresOfZeroGiveWeightsAndGradientsThatAreFinite) {
  Routing routing = routing_of(at::zeros({2, 1}, at::kLong), 2);
  routing.scores_TE =
      at::tensor({1.0, 0.0, 0.0, 0.0}, at::kDouble).reshape({2, 2}).set_requires_grad(true);
  routing.weights_N = at::zeros({2}, at::kDouble).set_requires_grad(true);
  const Routing out =
      Capacity({.num_experts = 2}, {.limit = 1, .overflow = "next_best", .renormalise = true})
          .apply(routing, training());
  EXPECT_EQ(experts_by_token(out), (std::vector<Ids>{{0}, {1}}));
  out.weights_N.sum().backward();
  EXPECT_TRUE(routing.scores_TE.grad().isfinite().all().item<bool>());
  EXPECT_TRUE(routing.weights_N.grad().isfinite().all().item<bool>());
}

TEST(Capacity, IsTheSameForAnyNumberOfThreadsAndInFloat32) {
  const int64_t T = 6000, E = 16;
  const Tensor scores_TE = at::softmax(normal({T, E}, 3), 1);
  for (const auto type : {at::kFloat, at::kDouble})
    for (const std::string order : {"choice", "priority", "random", "token"}) {
      const auto [chosen_TK, experts_TK] = scores_TE.to(type).topk(3, 1);
      Routing routing = fixed_choices(experts_TK, chosen_TK, E);
      routing.scores_TE = routing.logits_TE = scores_TE.to(type);
      const Capacity capacity({.num_experts = E, .choices = 3},
                              {.factor = 0.7, .order = order, .overflow = "next_best"});
      std::vector<Routing> out;
      for (const int threads : {1, 2, 3}) {
        const moe::test::WithThreads with_threads(threads);
        out.push_back(capacity.apply(routing, training(Sequences::equal(300, 20))));
      }
      EXPECT_EQ(out[0].weights_N.scalar_type(), type);
      EXPECT_GT(out[0].dropped().item<int64_t>(), 0);
      for (const Routing& other : out) {
        expect_identical(other.experts_N, out[0].experts_N);
        expect_identical(other.weights_N, out[0].weights_N);
      }
    }
}

TEST(Capacity, ServesEveryRouter) {
  const Tensor x_TD = normal({12, 5}, 1);
  for (const auto& kind : routing::routers().names()) {
    SCOPED_TRACE(kind);
    const auto router = test::make_router(kind, {.d_model = 5, .num_experts = 6, .top_k = 2});
    router->to(at::kDouble);
    const LayerContext context = {
        {}, {.sequences = Sequences::equal(2, 6), .ids_T = at::arange(12, at::kLong)}};
    const Routing before = router->forward(x_TD, context);
    for (const std::string overflow : {"drop", "next_best"}) {
      if (overflow == "next_best" && !before.scores_TE.defined()) continue;
      const Capacity capacity({.num_experts = 6, .choices = router->active_experts()},
                              {.eval_factor = 0.5, .overflow = overflow});
      const Routing after = capacity.apply(before, context);
      test::expect_valid(after, 12, 6);
      const int64_t most = 2 * capacity.room(at::full({1}, 6, at::kLong), false).item<int64_t>();
      EXPECT_LE(after.counts_E().max().item<int64_t>(), most);
    }
  }
}

TEST(Capacity, RefusesPartsOfGroups) {
  const Routing routing = routing_of(at::zeros({6, 1}, at::kLong), 2);
  const auto apply = [&](const CapacityOptions& options, LayerContext context, int64_t ranks = 1) {
    context.training = true;
    Capacity({.num_experts = 2, .ranks = ranks}, options).apply(routing, context);
  };
  apply({.factor = 1, .group_tokens = 3}, {{}, {.first_token = 9}});
  EXPECT_ERROR(apply({.factor = 1, .group_tokens = 4}, {{}, {.first_token = 8}}),
               "expected whole groups of group_tokens=4 tokens on every rank and in every "
               "micro-batch, got the tokens [8, 14)");
  EXPECT_ERROR(apply({.factor = 1, .group_tokens = 3}, {{}, {.first_token = 1}}),
               "got the tokens [1, 7)");
  EXPECT_ERROR(apply({.factor = 1}, {{}, {.sequences = Sequences::equal(1, 4)}}),
               "expected sequences of 6 tokens in all");
  EXPECT_ERROR(apply({.factor = 1}, {}, 2),
               "expected the sequences of the tokens with 2 ranks, got none");
  apply({.factor = 1}, {{}, {.sequences = Sequences::of_lengths({1, 5}), .first_token = 2}}, 2);
  apply({}, {{}, {.first_token = 2}}, 2);
}

TEST(Capacity, RefusesWhatItCannotServe) {
  Routing routing = routing_of(at::zeros({6, 1}, at::kLong), 2);
  EXPECT_ERROR(Capacity({.num_experts = 3}, {.factor = 1}).apply(routing, training()),
               "expected a routing over 3 experts, got one over 2");
  routing.logits_TE = routing.scores_TE = Tensor();
  EXPECT_ERROR(Capacity({.num_experts = 2}, {.factor = 1, .overflow = "next_best"})
                   .apply(routing, training()),
               "expected a router with scores for overflow = \"next_best\"");
  EXPECT_ERROR(Capacity({}, {}), "expected num_experts > 0");
}

TEST(CapacityOptions, RefuseWhatMeansNothing) {
  const auto read = [](const char* key, Value value) {
    CapacityOptions options;
    read_fields(options, with(key, std::move(value)), "moe.capacity");
  };
  read("factor", 1.25);
  EXPECT_ERROR(read("factor", -1.0), "expected a finite factor >= 0, got -1");
  EXPECT_ERROR(read("factor", std::nan("")), "expected a finite factor >= 0, got nan");
  EXPECT_ERROR(read("eval_factor", INFINITY), "expected a finite eval_factor >= 0, got inf");
  EXPECT_ERROR(read("limit", -2), "expected limit >= 0, got -2");
  EXPECT_ERROR(read("minimum", 0), "expected minimum >= 1, got 0");
  EXPECT_ERROR(read("group_tokens", -1), "expected group_tokens >= 0, got -1");
  EXPECT_ERROR(read("rounding", "up"), "rounding");
  EXPECT_ERROR(read("order", "prioriti"), "Did you mean 'priority'?");
  EXPECT_ERROR(read("overflow", "next"), "overflow");
  EXPECT_ERROR(read("factr", 1.0), "Did you mean 'factor'?");
  EXPECT_ERROR(Capacity({.num_experts = 2}, {.factor = 1, .limit = 2}),
               "expected limit or factors, got limit=2, factor=1 and eval_factor=0");
}

TEST(CapacityOptions, SayHowManyExpertsWorkForATokenAtMost) {
  EXPECT_EQ(CapacityOptions{}.active_experts(2), 2);
  EXPECT_EQ(CapacityOptions{.factor = 1.25}.active_experts(2), 2);
  EXPECT_EQ(CapacityOptions{.factor = 0.5}.active_experts(2), 1);
  EXPECT_EQ((CapacityOptions{.factor = 1.25, .count_k = false}).active_experts(2), 1.25);
  EXPECT_EQ(CapacityOptions{.limit = 1}.active_experts(2), 2);
}

}  // namespace

}  // namespace moe::capacity::capacity_test
