// What the layer does for balance terms with state or on weights, and experts that sit out a step.
// T tokens, D width, E experts.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/tensor.h>

#include <moe/layers/moe_layer.h>

namespace moe::layers::layer_balance_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t T = 9, D = 6;

Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

MoELayerOptions options(const std::vector<BalanceSpec>& balance) {
  return {.d_model = D, .num_experts = 4, .expert = {.d_ff = 3}, .balance = balance};
}

MoELayer make(const MoELayerOptions& options) {
  MoELayer layer(options);
  randomise(*layer, 1);
  return layer;
}

LayerContext training(uint64_t step = 0) {
  LayerContext context;
  context.training = true;
  context.random = {.seed = 2, .step = step};
  return context;
}

TEST(LayerBalance, NamesAndSavesTermsByTheirKindAndMovesTheirStateAfterTheStep) {
  auto layer = make(options({{"switch", 0.1},
                             {"usage_variance", 0.1, with("decay", 0.5)},
                             {"usage_variance", 0.1, with("average", "cumulative")}}));
  ASSERT_EQ(layer->named_buffers().keys(),
            (std::vector<std::string>{
                "balance_usage_variance.usage", "balance_usage_variance.steps",
                "balance_usage_variance_2.usage", "balance_usage_variance_2.steps"}));
  const Tensor x_TD = normal({T, D}, 3);
  std::vector<std::string> names;
  for (const auto& term : layer->forward_tokens(x_TD, LayerContext()).balance.terms)
    names.push_back(term.name);
  EXPECT_EQ(names, (std::vector<std::string>{"switch", "usage_variance", "usage_variance_2"}));
  const double before =
      layer->forward_tokens(x_TD, training()).balance.terms[1].value.item<double>();
  EXPECT_EQ(layer->forward_tokens(x_TD, training()).balance.terms[1].value.item<double>(), before);
  layer->end_step({.counts_E = at::tensor({18, 0, 0, 0}, at::kLong), .step = 0});
  expect_close(layer->named_buffers()["balance_usage_variance.usage"],
               at::tensor({0.625, 0.125, 0.125, 0.125}, at::kDouble), 1e-15);
  expect_close(layer->named_buffers()["balance_usage_variance_2.usage"],
               at::tensor({1.0, 0.0, 0.0, 0.0}, at::kDouble), 1e-15);
  EXPECT_NE(layer->forward_tokens(x_TD, training()).balance.terms[1].value.item<double>(), before);
}

TEST(LayerBalance, GivesTermsTheWeightsWhereSomethingLearns) {
  auto layer = make(options(
      {{"orthogonality", 1}, {"orthogonality", 1, with("of", "experts")}, {"expert_l2", 1}}));
  const Tensor x_TD = normal({T, D}, 3);
  const auto p = layer->named_parameters();
  const double half_squares =
      (p["experts.w_in"].square().sum() + p["experts.w_out"].square().sum()).item<double>() / 2;
  EXPECT_NEAR(layer->forward_tokens(x_TD, LayerContext()).balance.terms[2].value.item<double>(),
              half_squares, 1e-10);
  for (const auto& term : layer->forward_tokens(x_TD, LayerContext()).balance.terms)
    EXPECT_GT(term.value.item<double>(), 0);
  expect_directional_gradients(
      [&] { return layer->forward_tokens(x_TD, training()).balance.loss(); },
      named_parameters_of(*layer));

  const at::NoGradGuard no_grad;
  for (const auto& term : layer->forward_tokens(x_TD, training()).balance.terms)
    EXPECT_GT(term.value.item<double>(), 0) << "training measures in any case";
  for (const auto& term : layer->forward_tokens(x_TD, LayerContext()).balance.terms)
    EXPECT_EQ(term.value.item<double>(), 0);
}

/// 1 when it was handed weights, else 0.
template <bool kWants>
class WeightCounter final : public balance::Term {
 public:
  WeightCounter(const balance::TermShape& shape, const NoOptions&) : Term(shape) {}
  Tensor sums(const balance::BalanceInputs& inputs) const override {
    return at::tensor({inputs.weights ? 1.0 : 0.0});
  }
  Tensor value(const Tensor& sums, const LayerContext&) const override { return sums[0]; }
  double value_at_balance() const override { return 0; }
  bool wants_weights() const override { return kWants; }
};

TEST(LayerBalance, ReadsTheWeightsOnlyWhereATermWantsThem) {
  balance::terms().add<WeightCounter<true>>("test_wants_weights", "");
  balance::terms().add<WeightCounter<false>>("test_wants_none", "");
  const Tensor x_TD = normal({T, D}, 3);
  const auto value = [&](const std::vector<BalanceSpec>& terms) {
    return make(options(terms))
        ->forward_tokens(x_TD, training())
        .balance.terms[0]
        .value.item<double>();
  };
  EXPECT_EQ(value({{"test_wants_none", 1}}), 0);
  EXPECT_EQ(value({{"test_wants_weights", 1}}), 1);
}

TEST(LayerBalance, MeasuresWhatTheRouterChoseWhenExpertsSitOut) {
  auto with_dropout = options({{"switch", 1}});
  with_dropout.expert_dropout = 0.5;
  auto dropping = make(with_dropout), whole = make(options({{"switch", 1}}));
  const Tensor x_TD = normal({T, D}, 3);
  int64_t dropped = 0;
  for (uint64_t step = 0; step < 6; ++step) {
    const MoEOutput out = dropping->forward_tokens(x_TD, training(step)),
                    all = whole->forward_tokens(x_TD, training(step));
    expect_identical(out.balance.load_E, all.balance.load_E);
    expect_identical(out.balance.loss(), all.balance.loss());
    EXPECT_EQ(out.balance.dropped.item<double>(), 0);
    dropped += out.routing.dropped().item<int64_t>();
    EXPECT_TRUE(out.hidden_TD.isfinite().all().item<bool>());
  }
  EXPECT_GT(dropped, 0);
  expect_identical(dropping->forward_tokens(x_TD, LayerContext()).hidden_TD,
                   whole->forward_tokens(x_TD, LayerContext()).hidden_TD, "evaluation");
}

TEST(LayerBalance, RefusesATermOnTheNumberOfChoicesBesideARouterThatFixesIt) {
  auto o = options({{"relu_l1", 1}});
  const Tensor x_TD = normal({T, D}, 3);
  EXPECT_ERROR(
      make(o)->forward_tokens(x_TD, training()),
      "router whose rule says how many experts a token gets, got 'topk', which gives each 2");
  o.router.kind = "relu";
  EXPECT_GT(make(o)->forward_tokens(x_TD, training()).balance.terms[0].value.item<double>(), 0);
}

TEST(LayerBalance, RefusesADropoutOfAllExperts) {
  auto o = options({});
  o.expert_dropout = 1;
  EXPECT_ERROR(make(o), "expert_dropout in [0, 1), got 1");
}

}  // namespace

}  // namespace moe::layers::layer_balance_test
