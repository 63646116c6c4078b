// Routers named by their options' type.
#include <algorithm>
#include <tests/support/message_of.h>
#include <tests/support/public_options.h>
#include <tests/support/routers.h>

#include <moe/routing/routers.h>

namespace moe::routing::public_options_test {

namespace {

template <class... Options>
std::vector<std::string> kinds_of() {
  return {test::expect_public_options<Options, RouterSpec>(routers())...};
}

TEST(PublicRouterOptions, EveryBuiltInKindHasThem) {
  auto found = kinds_of<TopKRouter, SwitchRouter, GShardRouter, NoisyTopKRouter, VMoERouter,
                        WarmupNoiseRouter, HashRouter, ExpertChoiceRouter, DenseRouter, MlpRouter,
                        CosineRouter, SigmoidRouter, ScaledTopKRouter, SparsemixerRouter,
                        HierarchicalRouter, GroupedTopKRouter, PerHeadRouter, TaskAdaptiveRouter,
                        DomainAwareRouter, CrossModalRouter, TopPRouter, ThresholdRouter,
                        GatingResidualRouter, ForcedBalanceRouter, ForcedSkewRouter, ReplayRouter,
                        BaseRouter, SinkhornRouter, ReluRouter, ThorRouter, PolicyGradientRouter,
                        DynMoERouter, QuantileRouter, TokenRoundingRouter>();
#define X(name, help) #name,
  std::vector<std::string> built_in = {
#include <moe/routing/routers.def>
  };
#undef X
  std::sort(found.begin(), found.end());
  std::sort(built_in.begin(), built_in.end());
  EXPECT_EQ(found, built_in);
}

TEST(PublicRouterOptions, MakeTheirKind) {
  const RouterSpec spec = SigmoidRouter{.bias_rate = 0.5};
  const auto router =
      test::initialised_router(spec.make(RouterShape{.d_model = 3, .num_experts = 2, .top_k = 2}));
  router->end_step({.counts_E = at::arange(2, at::kLong), .step = 0});
  EXPECT_EQ(router->named_buffers()["selection_bias"][0].item<double>(), 0.5);
  EXPECT_EQ(router->named_buffers()["selection_bias"][1].item<double>(), -0.5);
}

TEST(PublicRouterOptions, AreCheckedWhereTheyAreUsed) {
  const RouterSpec spec = SigmoidRouter{.bias_rate = -1};
  EXPECT_ERROR(spec.make(RouterShape{.d_model = 3, .num_experts = 2}), "expected bias_rate >= 0");
}

}  // namespace

}  // namespace moe::routing::public_options_test
