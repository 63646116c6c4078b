// A compute budget through whole models. B batch, S sequence.
#include <cmath>

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <moe/data/tokens.h>
#include <moe/generation/generate.h>
#include <moe/models/budget.h>
#include <moe/models/forward_pass.h>
#include <moe/objectives/evaluate.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_model.h"

namespace moe::models::budget_test {

namespace {

using at::Tensor;

/// Layers 0 and 1 route, 4 of 8 experts a token.
DecoderOptions options() {
  DecoderOptions out = test::tiny_text_options();
  out.uniform.layers = 2;
  out.uniform.moe.every = 1;
  out.uniform.moe.num_experts = 8;
  out.uniform.moe.top_k = 4;
  return out;
}

std::vector<int64_t> choices_of(Model& model, const std::vector<double>& shares) {
  test::RowsContext context;
  set_budget(context, shares, model, "test");
  std::vector<int64_t> out;
  for (const auto& layer :
       test::run_rows(model, at::arange(10, at::kLong).view({2, 5}), context).layers)
    out.push_back(layer.routing.choices);
  return out;
}

TEST(Budget, ReachesAllLayersOrEach) {
  const auto model = test::tiny_model(options());
  EXPECT_EQ(choices_of(*model, {}), (std::vector<int64_t>{4, 4}));
  EXPECT_EQ(choices_of(*model, {1}), (std::vector<int64_t>{4, 4}));
  EXPECT_EQ(choices_of(*model, {0.5}), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(choices_of(*model, {0.25, 0.75}), (std::vector<int64_t>{1, 3}));
}

TEST(Budget, IsRefusedWhereItDoesNotFitTheModel) {
  const auto model = test::tiny_model(options());
  EXPECT_ERROR(choices_of(*model, {0.5, 1, 1}),
               "[test] expected one budget, or one for each of 2 layers, got 3");
  for (const double share : {0.0, -1.0, 1.5, std::nan("")})
    EXPECT_ERROR(choices_of(*model, {share}), "[test] expected a budget in (0, 1], got");
  const auto half_dense = test::tiny_model(test::tiny_text_options());  // layer 0 is dense
  EXPECT_EQ(choices_of(*half_dense, {1, 0.5}), (std::vector<int64_t>{1}));
  EXPECT_ERROR(choices_of(*half_dense, {0.5, 0.5}),
               "expected a budget of 1 for layer 0, which does not route, got 0.5");
  auto dense = test::tiny_text_options();
  dense.uniform.moe.num_experts = 0;
  EXPECT_ERROR(choices_of(*test::tiny_model(dense), {0.5}), "got a dense one");
}

TEST(Budget, OfGenerationEvaluationAndForwardPassesIsThatOfAModelOfFewerChoices) {
  LoadedModel four, two;
  auto fewer = options();
  fewer.uniform.moe.top_k = 2;
  four.model = test::tiny_model(options());
  two.model = test::tiny_model(fewer);
  four.tokenizer = two.tokenizer = data::make_tokenizer("byte");
  const auto text = [](const LoadedModel& model, const std::vector<double>& budget) {
    return generate(model, "abc", {.max_tokens = 20, .seed = 3, .budget = budget}).tokens;
  };
  EXPECT_EQ(text(four, {0.5}), text(two, {}));
  EXPECT_EQ(text(four, {0.5, 0.5}), text(two, {}));
  EXPECT_EQ(text(four, {1}), text(four, {}));
  EXPECT_NE(text(four, {0.25}), text(four, {}));

  const data::Tokens tokens(std::vector<int32_t>(40, 7));
  const auto loss = [&](const LoadedModel& model, const std::vector<double>& budget) {
    return objectives::evaluate(*model.model, tokens, budget).loss();
  };
  EXPECT_NEAR(loss(four, {0.5}), loss(two, {}), 1e-6);
  EXPECT_EQ(loss(four, {1}), loss(four, {}));
  EXPECT_NE(loss(four, {0.5}), loss(four, {}));

  const TokenRows rows = parse_token_rows(R"({"input_ids": [[5, 6, 7]]})", "rows", 256);
  const auto logits = [&](Model& model, const std::vector<double>& budget) {
    return forward_pass(model, rows, {.budget = budget}).front().second;
  };
  EXPECT_TRUE(at::allclose(logits(*four.model, {0.5}), logits(*two.model, {}), 1e-5, 1e-6));
  EXPECT_FALSE(at::allclose(logits(*four.model, {0.5}), logits(*four.model, {}), 1e-5, 1e-6));
}

}  // namespace

}  // namespace moe::models::budget_test
