// masked_token: which tokens are hidden, what is read in their place, what is asked. T tokens.
#include <tests/support/message_of.h>

#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/models/architectures/decoder.h>
#include <moe/objectives/evaluate.h>
#include <moe/objectives/kinds/masked_token.h>

namespace moe::objectives {
namespace {

constexpr int64_t kText = 256, kHidden = 256;

ObjectiveShape shape_of(int64_t vocabulary = kText + 1, bool causal = false) {
  return {.model = {.vocabulary = vocabulary, .outputs = vocabulary, .causal = causal},
          .data = {.vocabulary = kText, .sequence = 16}};
}

std::shared_ptr<Objective> masked(const MaskedToken& options = {},
                                  const ObjectiveShape& shape = shape_of()) {
  return ObjectiveSpec(options).make(shape);
}

/// Tokens [begin, end) of a text in which each token says where it stands.
data::Batch rows_of(int64_t begin, int64_t end) {
  data::Batch out;
  out.inputs.tokens.ids_T = at::arange(begin, end, at::kLong).remainder(kText);
  out.inputs.tokens.first_token = begin;
  out.targets = out.inputs.tokens.ids_T + 1;
  return out;
}

TEST(MaskedToken, HidesASharesAndAsksForIt) {
  constexpr int64_t T = 100000;
  const auto batch = rows_of(0, T);
  const auto objective = masked();
  const auto read = objective->prepared(batch, {.seed = 1, .step = 2});
  const Tensor asked_T = read.targets.ne(data::kIgnoredTarget);
  const double asked = asked_T.sum().item<double>();
  EXPECT_EQ(objective->targets(read), static_cast<int64_t>(asked));
  EXPECT_NEAR(asked / T, 0.15, 0.005);
  // What is asked is what stood there; what is not asked is read as it is.
  const Tensor &was_T = batch.inputs.tokens.ids_T, &is_T = read.inputs.tokens.ids_T;
  EXPECT_TRUE(at::equal(read.targets.masked_select(asked_T), was_T.masked_select(asked_T)));
  const Tensor rest_T = asked_T.logical_not();
  EXPECT_TRUE(at::equal(is_T.masked_select(rest_T), was_T.masked_select(rest_T)));
  const Tensor now_M = is_T.masked_select(asked_T), before_M = was_T.masked_select(asked_T);
  EXPECT_NEAR(now_M.eq(kHidden).sum().item<double>() / asked, 0.8, 0.01);
  // A random id is the token's own once in 256 times.
  EXPECT_NEAR(now_M.eq(before_M).sum().item<double>() / asked, 0.1, 0.01);
  const Tensor random_M = now_M.masked_select(now_M.ne(kHidden) & now_M.ne(before_M));
  EXPECT_LT(random_M.max().item<int64_t>(), kText);
  EXPECT_GE(random_M.min().item<int64_t>(), 0);
  // The batch itself is as it was.
  EXPECT_TRUE(at::equal(was_T, rows_of(0, T).inputs.tokens.ids_T));
}

TEST(MaskedToken, DependsOnTheStepAndTheTokenAlone) {
  const auto objective = masked({.share = 0.5});
  const RandomKey key = {.seed = 3, .step = 7};
  const auto whole = objective->prepared(rows_of(0, 64), key);
  // However a step is cut into micro-batches and ranks.
  const auto part = objective->prepared(rows_of(32, 64), key);
  EXPECT_TRUE(at::equal(part.targets, whole.targets.narrow(0, 32, 32)));
  EXPECT_TRUE(at::equal(part.inputs.tokens.ids_T, whole.inputs.tokens.ids_T.narrow(0, 32, 32)));
  EXPECT_FALSE(at::equal(objective->prepared(rows_of(0, 64), {.seed = 3, .step = 8}).targets,
                         whole.targets));
  EXPECT_FALSE(at::equal(objective->prepared(rows_of(0, 64), {.seed = 4, .step = 7}).targets,
                         whole.targets));
}

TEST(MaskedToken, TakesNoTokens) {
  const auto read = masked()->prepared(rows_of(0, 0), {});
  EXPECT_EQ(read.targets.size(0), 0);
  EXPECT_EQ(masked()->targets(read), 0);
}

TEST(MaskedToken, AsksForEveryTokenWhereAllAreHidden) {
  const auto objective = masked({.share = 1, .hidden = 1, .random = 0});
  const auto read = objective->prepared(rows_of(0, 40), {});
  EXPECT_TRUE(read.inputs.tokens.ids_T.eq(kHidden).all().item<bool>());
  EXPECT_TRUE(at::equal(read.targets, rows_of(0, 40).inputs.tokens.ids_T));
}

/// Two sequences of the made up text, always the same.
class Text final : public data::EvalSource {
 public:
  int64_t batches() const override { return 2; }
  int64_t rows() const override { return 2; }
  data::Batch batch(int64_t index, data::RowRange rows) const override {
    auto out = rows_of(32 * index + 16 * rows.begin, 32 * index + 16 * rows.end);
    out.inputs.tokens.sequences = Sequences::equal(rows.end - rows.begin, 16);
    return out;
  }
};

TEST(MaskedToken, EvaluatesTheSameEachTimeOnBothSides) {
  models::DecoderOptions options;
  options.vocabulary = kText + 1;
  options.context_length = 16;
  options.d_model = 8;
  options.uniform.layers = 1;
  options.uniform.heads = 2;
  options.uniform.moe.num_experts = 0;
  options.causal = false;
  const auto model = models::make_model(options, 1);
  const auto objective = masked({.share = 0.5});
  const auto first = evaluate(*model, *objective, Text(), at::kFloat, *parallel::local());
  const auto again = evaluate(*model, *objective, Text(), at::kFloat, *parallel::local());
  EXPECT_TRUE(at::equal(first, again));
  EXPECT_GT(first[1].item<double>(), 10);
  EXPECT_EQ(objective->metrics(first).back().first, "accuracy");
}

TEST(MaskedToken, RefusesWhatItCannotServe) {
  EXPECT_ERROR(masked({}, shape_of(kText + 1, /*causal=*/true)), "model.causal = false");
  EXPECT_ERROR(masked({}, shape_of(kText)), "Raise it by one");
  EXPECT_ERROR(masked({.share = 0}), "(0, 1], got 0");
  EXPECT_ERROR(masked({.hidden = 0.8, .random = 0.3}), "at most 1 together");
}

}  // namespace
}  // namespace moe::objectives
