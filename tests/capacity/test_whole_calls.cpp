// Capacity over all tokens of a call, by a share of them, and by score. T tokens, E experts.
#include <tests/support/message_of.h>
#include <tests/support/routers.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/capacity/capacity.h>

namespace moe::capacity::whole_calls_test {

namespace {

using moe::test::experts_by_token;
using Ids = std::vector<int64_t>;

/// Six tokens of two sequences; all want expert 0 first and expert 1 second.
Routing crowded() {
  const Tensor experts_TK = at::tensor({0, 1}, at::kLong).expand({6, 2}).contiguous();
  const Tensor weights_TK = at::tensor({0.6, 0.4}, at::kDouble).expand({6, 2}).contiguous();
  return fixed_choices(experts_TK, weights_TK, 3);
}

LayerContext context() {
  LayerContext out;
  out.tokens.sequences = Sequences::of_lengths({2, 4});
  return out;
}

TEST(WholeCalls, AShareOfTheTokensIsTheRoom) {
  const Capacity rows({.num_experts = 3, .choices = 2}, {.eval_fraction = 0.5});
  EXPECT_EQ(experts_by_token(rows.apply(crowded(), context())),
            (std::vector<Ids>{{0, 1}, {}, {0, 1}, {0, 1}, {}, {}}));
  const Capacity call({.num_experts = 3, .choices = 2},
                      {.eval_fraction = 0.4, .whole_call = true});  // 2.4 tokens, rounded up
  EXPECT_EQ(experts_by_token(call.apply(crowded(), context())),
            (std::vector<Ids>{{0, 1}, {0, 1}, {0, 1}, {}, {}, {}}));
  LayerContext training = context();
  training.training = true;
  EXPECT_EQ(call.apply(crowded(), training).dropped().item<int64_t>(), 0);
}

TEST(WholeCalls, SecondChoicesQueueBehindAllFirstOnes) {
  const Tensor experts_TK = at::tensor({0, 1, 1, 0, 0, 2, 0, 1}, at::kLong).view({4, 2});
  const Tensor weights_TK = at::ones({4, 2}, at::kDouble) * 0.4;
  const Capacity capacity({.num_experts = 3, .choices = 2},
                          {.eval_fraction = 0.75, .whole_call = true, .renormalise = true});
  const Routing got = capacity.apply(fixed_choices(experts_TK, weights_TK, 3), {});
  // Expert 0 takes the first choices of tokens 0, 2 and 3, and not the second one of token 1.
  EXPECT_EQ(experts_by_token(got), (std::vector<Ids>{{0, 1}, {1}, {0, 2}, {0, 1}}));
  EXPECT_NEAR(got.weights_N[2].item<double>(), 0.8, 1e-15);
  EXPECT_EQ(got.weights_N[3].item<double>(), 0);
  EXPECT_NEAR(got.weights_N[0].item<double>(), 0.4, 1e-15);
}

TEST(WholeCalls, TheSurestTokensGoFirstByScore) {
  Routing routing = crowded();
  routing.scores_TE = at::tensor({0.5, 0.3, 0.2, 0.9, 0.05, 0.05, 0.4, 0.35, 0.25, 0.6, 0.3, 0.1,
                                  0.45, 0.3, 0.25, 0.8, 0.1, 0.1},
                                 at::kDouble)
                          .view({6, 3});
  const Capacity capacity({.num_experts = 3, .choices = 2},
                          {.eval_fraction = 0.5, .whole_call = true, .order = "score"});
  EXPECT_EQ(experts_by_token(capacity.apply(routing, context())),
            (std::vector<Ids>{{}, {0, 1}, {}, {0, 1}, {}, {0, 1}}));
  EXPECT_ERROR(capacity.apply(crowded(), context()), "scores for order = \"score\"");
}

TEST(WholeCalls, ServeNoTextThatGoesOn) {
  EXPECT_EQ(Capacity({.num_experts = 3}, {.limit = 2, .whole_call = true, .order = "token"})
                .needs_whole_groups(false),
            "whole_call = true");
  EXPECT_EQ(
      Capacity({.num_experts = 3}, {.factor = 2, .whole_call = true}).needs_whole_groups(false),
      "");
  const Capacity on_ranks({.num_experts = 3, .ranks = 2}, {.limit = 2, .whole_call = true});
  EXPECT_ERROR(on_ranks.apply(crowded(), context()), "expected one rank with whole_call");
}

TEST(WholeCalls, RefusesOptionsThatMeanNothing) {
  EXPECT_ERROR(CapacityOptions{.eval_fraction = 1.5}.validate("c"), "eval_fraction in [0, 1]");
  EXPECT_ERROR((CapacityOptions{.limit = 2, .eval_fraction = 0.5}.validate("c")),
               "one of eval_fraction, eval_factor and limit");
  EXPECT_ERROR((CapacityOptions{.group_tokens = 4, .whole_call = true}.validate("c")),
               "whole_call or group_tokens");
}

}  // namespace

}  // namespace moe::capacity::whole_calls_test
