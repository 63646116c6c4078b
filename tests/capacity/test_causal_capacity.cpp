// Capacity in the evaluation of causal models: no token depends on what comes after it.
// T tokens, E experts.
#include <tests/capacity/naive.h>
#include <tests/support/message_of.h>
#include <tests/support/routers.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

namespace moe::capacity::causal_capacity_test {

namespace {

using moe::test::experts_by_token;
using Ids = std::vector<int64_t>;

TEST(CausalCapacity, TextsReadInPiecesGetWhatTheyGetAtOnce) {
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (const std::string overflow : {"drop", "next_best"}) {
      naive::Trial t = naive::trial(seed);
      const int64_t T = t.routing.tokens(), E = t.routing.num_experts;
      const Capacity capacity({.num_experts = E, .choices = 2, .causal = true},
                              {.eval_factor = 0.5, .order = "token", .overflow = overflow});
      LayerContext context = {{.causal = true, .context_length = 12}};
      const auto whole = experts_by_token(capacity.apply(t.routing, context));
      Tensor taken_1E = at::zeros({1, E}, at::kLong);
      std::vector<Ids> parts;
      for (int64_t begin = 0, end = 0; begin < T; begin = end) {
        end =
            std::min(T, begin + 1 + static_cast<int64_t>(seed + static_cast<uint64_t>(begin)) % 4);
        const auto part = experts_by_token(
            capacity.apply(naive::part_of(t.routing, begin, end), context, &taken_1E));
        parts.insert(parts.end(), part.begin(), part.end());
      }
      ASSERT_EQ(parts, whole) << seed << ' ' << overflow;
      int64_t pairs = 0;
      for (const auto& token : whole) pairs += static_cast<int64_t>(token.size());
      ASSERT_EQ(taken_1E.sum().item<int64_t>(), pairs);
    }
}

TEST(CausalCapacity, InEvaluationOfACausalModelTheRoomIsThatOfTheContextLength) {
  const Routing routing =
      fixed_choices(at::zeros({10, 1}, at::kLong), at::ones({10, 1}, at::kDouble), 4);
  const Capacity capacity({.num_experts = 4}, {.factor = 1, .eval_factor = 1});
  const auto kept = [&](const LayerContext& context) {
    return capacity.apply(routing, context).counts_E()[0].item<int64_t>();
  };
  EXPECT_EQ(kept({{.causal = true, .context_length = 20}}), 5);
  EXPECT_EQ(kept({{.causal = true, .context_length = 40}}), 10);
  EXPECT_EQ(kept({{.causal = true}}), 3);
  EXPECT_EQ(kept({{.training = true, .causal = true, .context_length = 20}}), 3);
}

TEST(CausalCapacity, OrdersThatLookAheadServeNoCausalModelUnasked) {
  const CapacityShape causal = {.num_experts = 4, .choices = 2, .causal = true};
  for (const std::string order : {"choice", "priority", "random"}) {
    EXPECT_ERROR(Capacity(causal, {.eval_factor = 1, .order = order}),
                 "order = \"" + order + "\": a token's experts depend on later tokens");
    EXPECT_ERROR(Capacity(causal, {.limit = 3, .order = order}), "allow_future = true");
    const Capacity allowed(causal, {.eval_factor = 1, .order = order, .allow_future = true});
    EXPECT_EQ(allowed.needs_whole_groups(false), "order = \"" + order + '"');
    const Capacity trains(causal, {.factor = 1, .order = order});
    EXPECT_EQ(trains.needs_whole_groups(false), "");
    EXPECT_EQ(trains.needs_whole_groups(true), "order = \"" + order + '"');
  }
  // One choice a token: first choices are all there are, in order of tokens.
  const CapacityShape one = {.num_experts = 4, .choices = 1, .causal = true};
  EXPECT_EQ(Capacity(one, {.eval_factor = 1, .order = "choice"}).needs_whole_groups(false), "");
  EXPECT_ERROR(Capacity(one, {.eval_factor = 1, .order = "choice", .overflow = "next_best"}),
               "later tokens");
  EXPECT_EQ(Capacity(one, {.eval_factor = 1, .group_tokens = 8, .order = "token"})
                .needs_whole_groups(false),
            "group_tokens = 8");
}

}  // namespace

}  // namespace moe::capacity::causal_capacity_test
