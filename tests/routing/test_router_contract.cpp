// What every registered router must do, with default options. T tokens, D width, E experts, K
// choices per token.
#include <map>
#include <set>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/routers.h>
#include <tests/support/unfilled.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

namespace moe::routing::router_contract_test {

namespace {

using moe::test::expect_gradients;
using moe::test::expect_valid;
using moe::test::experts_by_token;
using moe::test::make_router;
using moe::test::message_of;
using moe::test::normal;
using moe::test::weights_of;

constexpr int64_t kTokens = 6, kWidth = 5, kExperts = 4;

/// Kinds through whose weights no gradient reaches the parameters, and why.
const std::map<std::string, std::string> kNoGradient = {
    {"replay", "the weights are those of the recording"}};
/// Parameters without a part in a layer that stands alone; a test of the kind's own has another
/// layer before.
const std::map<std::string, std::string> kNeedsLayerBefore = {
    {"gating_residual", "residual_weight"}};
/// Settings of kinds whose defaults leave most weights constant.
const std::map<std::string, std::pair<std::string, double>> kSettings = {
    {"sparsemixer", {"jitter", 10.0}}};
/// Kinds of this repository that pick a token's best experts: whether a kind does is found out.
const std::set<std::string> kByScore = {"dense", "sigmoid", "switch", "topk"};

/// Registered at run time, as a user of the installed library does: the suite must take it as it
/// takes the others.
class LastExpertsRouter final : public Router {
 public:
  LastExpertsRouter(const RouterShape& shape, const NoOptions&) : Router(shape) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor last_K =
        at::arange(shape_.num_experts - shape_.top_k, shape_.num_experts, at::kLong);
    const Tensor experts_TK = last_K.expand({x_TD.size(0), shape_.top_k});
    const Tensor weights_TK = at::ones(experts_TK.sizes(), at::kFloat) / shape_.top_k;
    Routing routing = fixed_choices(experts_TK, weights_TK, shape_.num_experts);
    routing.first_token = context.tokens.first_token;
    return routing;
  }
};

const bool kRegistered = [] {
  routers().add<LastExpertsRouter>("test_last_experts", "every token goes to the last experts");
  return true;
}();

class RouterContract : public ::testing::TestWithParam<std::string> {
 protected:
  static RouterShape shape(int64_t top_k = 2) {
    return {.d_model = kWidth, .num_experts = kExperts, .top_k = top_k};
  }
  static Tensor input(int64_t tokens = kTokens, uint64_t seed = 1) {
    return normal({tokens, kWidth}, seed).to(at::kFloat);
  }
  std::shared_ptr<Router> make(int64_t top_k = 2) const {
    Table settings;
    if (const auto found = kSettings.find(GetParam()); found != kSettings.end())
      settings.set(found->second.first, found->second.second);
    return make_router(GetParam(), shape(top_k), settings);
  }
};

TEST_P(RouterContract, RoutesWithValidShapesAndIds) {
  for (const int64_t K : {1, 2, 3, 4}) {
    const auto router = make(K);
    expect_valid(router->forward(input(), {}), kTokens, kExperts);
    expect_valid(router->forward(input(), {{.training = true}}), kTokens, kExperts);
  }
}

TEST_P(RouterContract, IsFiniteOnZerosAndHugeInputs) {
  const auto router = make();
  for (const double scale : {0.0, 1e4, 1e15}) {
    const Routing routing = router->forward(input() * scale, {{.training = true}});
    expect_valid(routing, kTokens, kExperts);
    EXPECT_TRUE(routing.weights_N.isfinite().all().item<bool>()) << scale;
    if (routing.scores_TE.defined()) {
      EXPECT_TRUE(routing.scores_TE.isfinite().all().item<bool>()) << scale;
    }
    const Tensor total = routing.weights_N.sum();
    if (!total.requires_grad()) continue;
    for (const Tensor& gradient :
         torch::autograd::grad({total}, router->parameters(), {}, {}, false, true))
      if (gradient.defined()) {
        EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << scale;
      }
  }
}

TEST_P(RouterContract, GivesTheSameResultForTheSameSeed) {
  const LayerContext context{{.training = true, .random = {.seed = 3, .step = 7, .layer = 2}}};
  const auto router = make();
  const Routing first = router->forward(input(), context);
  for (const auto& again : {router, make()}) {
    const Routing second = again->forward(input(), context);
    EXPECT_TRUE(at::equal(first.experts_N, second.experts_N));
    EXPECT_TRUE(at::equal(first.weights_N, second.weights_N));
  }
}

TEST_P(RouterContract, ForwardLeavesParametersAndBuffersAlone) {
  const auto router = make();
  std::vector<Tensor> before;
  for (const Tensor& state : router->parameters()) before.push_back(state.clone());
  for (const Tensor& state : router->buffers()) before.push_back(state.clone());
  router->forward(input(), {{.training = true}});
  std::vector<Tensor> after = router->parameters();
  for (const Tensor& state : router->buffers()) after.push_back(state);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
}

TEST_P(RouterContract, GradientReachesEveryParameter) {
  const auto router = make();
  const Routing routing = router->forward(input(), {});
  const Tensor scalar = (routing.weights_N * normal({routing.pairs()}, 5)).sum();
  if (kNoGradient.count(GetParam()) || router->parameters().empty()) {
    EXPECT_FALSE(scalar.requires_grad());
    return;
  }
  std::vector<Tensor> parameters;
  const auto idle = kNeedsLayerBefore.find(GetParam());
  for (const auto& item : router->named_parameters())
    if (idle == kNeedsLayerBefore.end() || item.key() != idle->second)
      parameters.push_back(item.value());
  for (const Tensor& gradient : torch::autograd::grad({scalar}, parameters, {}, {}, false, true)) {
    ASSERT_TRUE(gradient.defined());
    EXPECT_GT(gradient.abs().max().item<double>(), 1e-6);
  }
}

TEST_P(RouterContract, GradientsAgreeWithCentralDifferences) {
  const auto router = make();
  router->to(at::kDouble);
  const LayerContext context{{.training = true}};
  Tensor x_TD = normal({kTokens, kWidth}, 1);
  // Near-ties are nudged away: a step of the size of the differences, and larger, must not change
  // who is chosen.
  const Tensor experts_N = router->forward(x_TD, context).experts_N;
  for (uint64_t seed = 0; seed < 4; ++seed)
    ASSERT_TRUE(
        at::equal(router->forward(x_TD + 1e-4 * normal({kTokens, kWidth}, seed), context).experts_N,
                  experts_N))
        << "the input is too near to a tie: choose another seed";

  std::vector<Tensor> inputs = {x_TD};
  for (const Tensor& parameter : router->parameters()) inputs.push_back(parameter);
  // An estimate of the gradient has the tests of its own kind.
  if (!router->estimates_gradient())
    expect_gradients([&](const auto& in) { return router->forward(in[0], context).weights_N; },
                     inputs);
  if (router->forward(x_TD, context).scores_TE.defined()) {
    expect_gradients([&](const auto& in) { return router->forward(in[0], context).scores_TE; },
                     inputs);
    expect_gradients([&](const auto& in) { return router->forward(in[0], context).logits_TE; },
                     inputs);
  }
}

TEST_P(RouterContract, ServesNoTokenAndOneToken) {
  const auto router = make();
  for (const int64_t T : {0, 1}) {
    const Routing routing = router->forward(input(T), {{.training = true}});
    expect_valid(routing, T, kExperts);
    if (T == 0) {
      EXPECT_EQ(routing.pairs(), 0);
    }
  }
}

TEST_P(RouterContract, ServesAsManyChoicesAsExperts) {
  const auto router = make(kExperts);
  expect_valid(router->forward(input(), {}), kTokens, kExperts);
  const auto one = make_router(GetParam(), {.d_model = kWidth, .num_experts = 1, .top_k = 1});
  const Routing only = one->forward(input(), {});
  expect_valid(only, kTokens, 1);
}

TEST_P(RouterContract, NanInputNeverGivesAnIdOutOfRange) {
  const auto router = make();
  Tensor x_TD = input();
  x_TD[2].fill_(NAN);
  const Routing routing = router->forward(x_TD, {{.training = true}});
  expect_valid(routing, kTokens, kExperts);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Tensor weights = weights_of(routing, t);
    if (t != 2) {
      EXPECT_TRUE(weights.isfinite().all().item<bool>()) << "token " << t;
    } else if (routing.weights_N.requires_grad()) {
      EXPECT_TRUE(weights.isnan().all().item<bool>());
    }
  }
}

TEST_P(RouterContract, LogitsOfBfloat16InputsAreFloat32) {
  const auto router = make();
  const Tensor x_TD = input().to(at::kBFloat16);
  const auto expect_float = [&](const Routing& routing) {
    EXPECT_EQ(routing.weights_N.scalar_type(), at::kFloat);
    if (!routing.logits_TE.defined()) return;
    EXPECT_EQ(routing.logits_TE.scalar_type(), at::kFloat);
    EXPECT_EQ(routing.scores_TE.scalar_type(), at::kFloat);
  };
  const Routing routing = router->forward(x_TD, {});
  expect_float(routing);
  const Routing same = router->forward(x_TD.to(at::kFloat), {});
  EXPECT_TRUE(at::equal(routing.weights_N, same.weights_N));
  router->to(at::kBFloat16);
  expect_float(router->forward(x_TD, {}));
}

TEST_P(RouterContract, GivesARowWhatItGetsAlone) {
  const auto router = make();
  const Tensor x_TD = input();
  for (const std::vector<int64_t>& lengths :
       {std::vector<int64_t>{3, 3}, {1, 3, 2}, {0, 4, 2}, {kTokens}}) {
    const LayerContext whole{{.training = true, .random = {.seed = 4}},
                             {.sequences = Sequences::of_lengths(lengths), .first_token = 12}};
    const Routing routing = router->forward(x_TD, whole);
    expect_valid(routing, kTokens, kExperts);
    const auto experts = experts_by_token(routing);
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      LayerContext alone = whole;
      alone.tokens.first_token += begin;
      alone.tokens.sequences = Sequences::equal(1, length);
      const Routing row = router->forward(x_TD.slice(0, begin, begin + length), alone);
      EXPECT_EQ(row.first_token, alone.tokens.first_token);
      const auto experts_alone = experts_by_token(row);
      for (int64_t t = 0; t < length; ++t) {
        EXPECT_EQ(experts_alone[static_cast<size_t>(t)], experts[static_cast<size_t>(begin + t)]);
        EXPECT_TRUE(at::allclose(weights_of(row, t), weights_of(routing, begin + t)));
      }
      begin += length;
    }
  }
}

TEST_P(RouterContract, LivesWithoutMemory) {
  test::expect_lives_without_memory([&](const at::TensorOptions& tensors) {
    auto wanted = shape();
    wanted.tensors = tensors;
    try {
      return routers().at(GetParam()).make(wanted, {});
    } catch (const ConfigError&) {  // a kind for one choice
      wanted.top_k = 1;
      return routers().at(GetParam()).make(wanted, {});
    }
  });
}

TEST_P(RouterContract, SaysWhatItsParametersAre) {
  for (const Parameter& parameter : parameters_of(*make())) {
    SCOPED_TRACE(parameter.name);
    EXPECT_EQ(parameter.info.part, Part::kRouter);
    EXPECT_FALSE(parameter.info.is_local());
    if (parameter.info.per_expert) {
      EXPECT_EQ(parameter.tensor.size(0), kExperts);
    }
  }
}

TEST_P(RouterContract, RefusesMoreChoicesThanExperts) {
  const auto entry = routers().at(GetParam());
  const std::string message = message_of([&] { entry.make(shape(kExperts + 1), {}); });
  EXPECT_NE(message.find("expected top_k in [1, num_experts=4], got 5"), std::string::npos)
      << message;
}

TEST_P(RouterContract, RefusesUnknownOptions) {
  const auto entry = routers().at(GetParam());
  Table settings;
  settings.set("no_such_option", 1);
  EXPECT_THROW(entry.check(settings, "router"), ConfigError);
  for (const FieldInfo& field : entry.fields()) EXPECT_FALSE(field.help.empty()) << field.name;
}

/// Whether every token has its K best experts, for inputs without ties.
bool chooses_by_score(const Routing& routing) {
  if (!routing.logits_TE.defined()) return false;
  const auto chosen = experts_by_token(routing);
  for (size_t t = 0; t < chosen.size(); ++t) {
    const Tensor logits_E = routing.logits_TE[static_cast<int64_t>(t)];
    const Tensor best_K = std::get<1>(at::topk(logits_E, static_cast<int64_t>(chosen[t].size())));
    const std::set<int64_t> mine(chosen[t].begin(), chosen[t].end());
    for (int64_t j = 0; j < best_K.size(0); ++j)
      if (!mine.count(best_K[j].item<int64_t>())) return false;
  }
  return true;
}

TEST_P(RouterContract, TiesOfScoresGoToTheLowestId) {
  const auto router = make();
  const bool by_score = chooses_by_score(router->forward(input(), {}));
  if (kByScore.count(GetParam())) {
    ASSERT_TRUE(by_score);
  }
  if (!by_score) return;
  for (const auto& chosen : experts_by_token(router->forward(at::zeros({kTokens, kWidth}), {})))
    for (size_t j = 0; j < chosen.size(); ++j) EXPECT_EQ(chosen[j], static_cast<int64_t>(j));
}

INSTANTIATE_TEST_SUITE_P(Kinds, RouterContract, ::testing::ValuesIn(routers().names()),
                         [](const auto& info) { return info.param; });

}  // namespace

}  // namespace moe::routing::router_contract_test
