#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/config/toml.h>
#include <moe/parallel/threads.h>
#include <moe/train/clip.h>
#include <moe/train/optimizer.h>
#include <moe/train/optimizers/lazy_adamw.h>
#include <moe/train/schedule.h>

#include "tests/support/message_of.h"
#include "tests/train/parameters.h"

namespace moe::test {
namespace {

using at::Tensor;
using train::make_optimizer;
using train::OptimizerOptions;

Parameters parameters_like_a_model() {
  at::manual_seed(1);
  return {learning("embedding", {5, 3}, kEmbeddingInfo),
          learning("layers.0.attention.w_q", {4, 3}, kMatrixInfo),
          learning("layers.0.moe.router.weight", {2, 3}, kRouterInfo),
          learning("layers.0.moe.experts.w_in", {2, 4, 3}, kStackInfo),
          learning("layers.0.moe.experts.b_in", {2, 4}, kStackBiasInfo),
          learning("norm.scale", {3}, kScaleInfo),
          learning("head", {5, 3}, kHeadInfo)};
}

/// The textbook update of one tensor.
struct NaiveAdamW {
  Tensor m, v;
  int64_t steps = 0;
  Tensor update(const Tensor& p, const Tensor& g, double lr, double decay, const AdamW& o) {
    if (!m.defined()) m = at::zeros_like(p), v = at::zeros_like(p);
    ++steps;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const Tensor m_hat = m / (1 - std::pow(o.beta1, steps)),
                 v_hat = v / (1 - std::pow(o.beta2, steps));
    return p - lr * (m_hat / (v_hat.sqrt() + o.epsilon) + decay * p);
  }
};

TEST(AdamW, EqualsTheTextbookWithRatesByPart) {
  const AdamW rule{.beta1 = 0.8, .beta2 = 0.97};
  const OptimizerOptions options{
      .rule = rule, .expert_lr_factor = 0.5, .router_lr_factor = 2, .router_warmup = 4};
  const auto parameters = parameters_like_a_model();
  const auto optimizer = make_optimizer(parameters, options);
  const std::vector<double> decays = {0, 0.1, 0.1, 0.1, 0, 0, 0.1},
                            factors = {1, 1, 2, 0.5, 0.5, 1, 1};
  std::vector<NaiveAdamW> naive(parameters.size());
  for (int64_t step = 0; step < 6; ++step) {
    draw_gradients(parameters);
    std::vector<Tensor> expected;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto& p = parameters[i].tensor;
      const double warmup = i == 2 ? std::min(1.0, static_cast<double>(step + 1) / 4.0) : 1;
      expected.push_back(
          naive[i].update(p.detach(), p.grad(), 0.01 * factors[i] * warmup, decays[i], rule));
    }
    optimizer->step(0.01, step);
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_LT((parameters[i].tensor.detach() - expected[i]).abs().max().item<double>(), 1e-12)
          << parameters[i].name;
  }
}

TEST(AdamW, MultipliesGradientsInItsPassInEveryType) {
  for (const auto& [type, bound] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-6},
                                    std::pair{at::kBFloat16, 2.5e-2}}) {
    SCOPED_TRACE(type);
    // Widths that fill no register, and one number alone.
    for (const auto& sizes : {std::vector<int64_t>{3, 37}, {1}, {2, 1000, 9}}) {
      at::manual_seed(3);
      Parameters parameters = {{"w", at::randn(sizes).to(type).requires_grad_(true), kMatrixInfo}};
      const Tensor& p = parameters[0].tensor;
      const auto optimizer = make_optimizer(parameters, OptimizerOptions());
      NaiveAdamW naive;
      Tensor expected = p.detach().to(at::kDouble);
      for (const double factor : {1.0, 0.03, 0.7}) {
        const Tensor gradient = at::randn(sizes).to(type);
        expected = naive.update(expected, gradient.to(at::kDouble) * factor, 0.01, 0.1, AdamW());
        p.mutable_grad() = gradient.clone();
        optimizer->step(0.01, naive.steps - 1, {}, factor);
        // A parameter is rounded in every step, and a factor shows in the moments.
        const auto off = [](const Tensor& x, const Tensor& y) {
          return (x.detach().to(at::kDouble) - y).abs().max().item<double>();
        };
        EXPECT_LT(off(p, expected), 2 * bound);
        const auto moments = optimizer->moments(0);
        EXPECT_LT(off(moments[0], naive.m), bound * naive.m.abs().max().item<double>());
        EXPECT_LT(off(moments[1], naive.v), bound * naive.v.abs().max().item<double>());
      }
    }
  }
}

class EveryOptimizer : public testing::TestWithParam<std::string> {
 protected:
  OptimizerOptions options() const { return {.rule = {.kind = GetParam()}}; }
};

TEST_P(EveryOptimizer, LeavesParametersWithoutGradient) {
  const auto parameters = parameters_like_a_model();
  const auto optimizer = make_optimizer(parameters, options());
  draw_gradients(parameters);
  parameters[0].tensor.mutable_grad() = Tensor();
  parameters[3].tensor.mutable_grad() = Tensor();
  std::vector<Tensor> before;
  for (const auto& parameter : parameters) before.push_back(parameter.tensor.detach().clone());
  optimizer->step(0.1, 0, busy(parameters));
  for (size_t i = 0; i < parameters.size(); ++i)
    EXPECT_EQ(parameters[i].tensor.equal(before[i]), i == 0 || i == 3) << parameters[i].name;
  optimizer->zero_gradients();
  for (const auto& parameter : parameters) EXPECT_FALSE(parameter.tensor.grad().defined());
}

TEST_P(EveryOptimizer, GradientsCountAsOftenAsTheFactorSays) {
  const auto one = parameters_like_a_model();
  const Parameters two = parameters_like_a_model();
  const auto first = make_optimizer(one, options()), second = make_optimizer(two, options());
  for (const double factor : {0.25, 1.0, 0.6}) {
    draw_gradients(one);
    for (size_t i = 0; i < one.size(); ++i)
      two[i].tensor.mutable_grad() = one[i].tensor.grad() * factor;
    first->step(0.1, 0, busy(one), factor);
    second->step(0.1, 0, busy(two));
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_LT((one[i].tensor - two[i].tensor).abs().max().item<double>(), 1e-11) << one[i].name;
  }
}

TEST_P(EveryOptimizer, GoesOnFromItsState) {
  const auto one = parameters_like_a_model();
  Parameters two = parameters_like_a_model();
  const auto first = make_optimizer(one, options()), second = make_optimizer(two, options());
  expect_state_is_all(one, *first, two, *second);
}

TEST_P(EveryOptimizer, HasMomentsOfTheShapesOfItsParametersAndTheirInfos) {
  const auto optimizer = make_optimizer(parameters_like_a_model(), options());
  const auto& parameters = optimizer->parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto moments = optimizer->moments(i);
    EXPECT_FALSE(moments.empty());
    for (const Tensor& moment : moments) EXPECT_EQ(moment.sizes(), parameters[i].tensor.sizes());
  }
  for (const auto& state : optimizer->state())
    for (const auto& parameter : parameters)
      if (state.name.starts_with(parameter.name + ".")) {
        EXPECT_EQ(state.info.per_expert, parameter.info.per_expert) << state.name;
        EXPECT_EQ(state.info.part, parameter.info.part) << state.name;
      }
}

TEST_P(EveryOptimizer, LowersAConvexLoss) {
  const auto parameters = parameters_like_a_model();
  const auto optimizer = make_optimizer(parameters, options());
  const auto loss = [&] {
    double sum = 0;
    for (const auto& parameter : parameters) sum += parameter.tensor.square().sum().item<double>();
    return sum;
  };
  const double before = loss();
  for (int64_t step = 0; step < 100; ++step) {
    for (const auto& parameter : parameters)
      parameter.tensor.mutable_grad() = 2 * parameter.tensor.detach();
    optimizer->step(0.02, step, busy(parameters));
  }
  EXPECT_LT(loss(), 0.5 * before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryOptimizer, testing::ValuesIn(train::optimizers().names()));

/// A stack of four experts, its biases, the matrix of one expert, and what all tokens share.
Parameters some_of_experts() {
  at::manual_seed(5);
  return {learning("w", {4, 3, 2}, kStackInfo), learning("b", {4, 3}, kStackBiasInfo),
          learning("own.2", {3, 2}, {.part = Part::kExperts, .expert = 2}),
          learning("shared", {3, 2}, kMatrixInfo)};
}

TEST(LazyAdamW, LeavesExpertsWithoutTokensAndIsAdamWForTheOthers) {
  const auto lazy_ones = some_of_experts(), plain_ones = some_of_experts();
  const auto lazy = make_optimizer(lazy_ones, {.rule = LazyAdamW{}}),
             plain = make_optimizer(plain_ones, {.rule = AdamW{}});
  EXPECT_TRUE(lazy->needs_tokens());
  EXPECT_FALSE(plain->needs_tokens());
  const auto counts = [&](const std::vector<int64_t>& tokens) {
    const Tensor tokens_E = at::tensor(tokens, at::kLong);
    return train::ExpertTokens{tokens_E, tokens_E, tokens_E, Tensor()};
  };
  const auto draw = [&] {
    draw_gradients(lazy_ones);
    for (size_t i = 0; i < lazy_ones.size(); ++i)
      plain_ones[i].tensor.mutable_grad() = lazy_ones[i].tensor.grad().clone();
  };
  const auto everything = [](const train::Optimizer& optimizer, size_t i) {
    std::vector<Tensor> out = optimizer.moments(i);
    out.push_back(optimizer.parameters()[i].tensor.detach());
    for (Tensor& tensor : out) tensor = tensor.clone();
    return out;
  };
  draw();
  lazy->step(0.01, 0, counts({1, 1, 1, 1}));
  plain->step(0.01, 0);
  for (const auto& idle : {std::vector<int64_t>{1, 2}, {0, 2, 3}, {0, 1, 2, 3}}) {
    std::vector<int64_t> tokens(4, 7);
    for (const int64_t expert : idle) tokens[static_cast<size_t>(expert)] = 0;
    std::vector<std::vector<Tensor>> before;
    for (size_t i = 0; i < 4; ++i) before.push_back(everything(*lazy, i));
    draw();
    lazy->step(0.01, 1, counts(tokens));
    plain->step(0.01, 1);
    for (size_t i = 0; i < 4; ++i) {
      const auto now = everything(*lazy, i), dense = everything(*plain, i);
      for (size_t k = 0; k < now.size(); ++k) {
        if (i == 3) {
          EXPECT_TRUE(now[k].equal(dense[k]));
        } else if (i == 2) {
          EXPECT_TRUE(now[k].equal(before[i][k]));
        } else {
          for (int64_t e = 0; e < 4; ++e) {
            const bool still = tokens[static_cast<size_t>(e)] == 0;
            EXPECT_EQ(now[k][e].equal(before[i][k][e]), still) << i << ' ' << e;
            // The first time, so far all experts moved as AdamW's did.
            if (!still && idle.size() == 2) {
              EXPECT_LT((now[k][e] - dense[k][e]).abs().max().item<double>(), 1e-14);
            }
          }
        }
      }
    }
  }
  draw();
  EXPECT_ERROR(lazy->step(0.01, 2), "expected the tokens that the experts of");
}

TEST(Optimizers, AreReadFromOneTableAndRefuseWhatTheyDoNotKnow) {
  const auto read = [](const char* text) {
    OptimizerOptions out;
    read_fields(out, config::parse_toml(text, "test"), "train.optimizer");
    return out;
  };
  const auto muon = read("kind = \"muon\"\nlr = 0.02\nmomentum = 0.9\nbeta2 = 0.99");
  EXPECT_EQ(muon.rule.kind, "muon");
  EXPECT_EQ(muon.lr, 0.02);
  EXPECT_EQ(read("beta1 = 0.5").rule.kind, "adamw");
  EXPECT_ERROR(read("momentum = 0.9"), "'train.optimizer.momentum'");
  EXPECT_ERROR(read("kind = \"muon\"\nmomentun = 0.9"), "Did you mean 'momentum'?");
  EXPECT_ERROR(read("beta1 = 1.0"), "'train.optimizer.beta1' in [0, 1), got 1");
  EXPECT_ERROR(read("kind = \"muon\"\nscale = \"none\""), "match_adamw");
  EXPECT_ERROR(read("kind = \"sgd\""), "expected a registered optimizer, got 'sgd'");
}

TEST(Optimizers, MayStandAsTheNameOfAKindAlone) {
  const auto read = [](const char* text) {
    train::TrainOptions out;
    read_fields(out, config::parse_toml(text, "test"), "train");
    return out.optimizer;
  };
  EXPECT_EQ(read("optimizer = \"muon\"").rule.kind, "muon");
  EXPECT_EQ(read("optimizer = \"muon\"").lr, OptimizerOptions().lr);
  EXPECT_ERROR(read("optimizer = \"sgd\""), "expected a registered optimizer, got 'sgd'");
  EXPECT_ERROR(read("optimizer = 3"), "expected a table or the name of a kind");
}

TEST(Clip, NormIsThatOfAllGradientsAndClippingScalesThem) {
  const auto parameters = parameters_like_a_model();
  double squares = 0;
  draw_gradients(parameters);
  for (const auto& parameter : parameters)
    squares += parameter.tensor.grad().square().sum().item<double>();
  const auto group = parallel::local();
  const double norm = train::gradient_norm(parameters, group);
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-12);
  train::clip_gradients(parameters, norm, 2 * norm);
  EXPECT_NEAR(train::gradient_norm(parameters, group), norm, 1e-12);
  train::clip_gradients(parameters, norm, 0.25);
  EXPECT_NEAR(train::gradient_norm(parameters, group), 0.25, 1e-12);
}

TEST(Clip, NormCountsWhatLiesOnOneRankOnceAndWhatAllHaveOnce) {
  parallel::run_ranks(2, [](const std::shared_ptr<parallel::Communicator>& group) {
    Parameters parameters = {learning("all", {3}, kScaleInfo),
                             learning("mine", {2, 2}, kStackInfo)};
    parameters[1].info.sharded = true;
    parameters[0].tensor.mutable_grad() = at::ones({3}, at::kDouble);
    const double mine = group->rank() == 0 ? 2 : 3;
    parameters[1].tensor.mutable_grad() = at::full({2, 2}, mine, at::kDouble);
    EXPECT_NEAR(train::gradient_norm(parameters, group), std::sqrt(3 + 4 * 4 + 4 * 9), 1e-12);
  });
}

TEST(Clip, NormIsNotFiniteWhenAGradientIsNot) {
  const auto parameters = parameters_like_a_model();
  parameters[3].tensor.mutable_grad() = at::full_like(parameters[3].tensor, NAN).detach();
  EXPECT_TRUE(std::isnan(train::gradient_norm(parameters, parallel::local())));
}

TEST(Schedule, RisesLinearlyAndEndsAtTheFinalShare) {
  for (const char* kind : {"linear", "cosine", "wsd"}) {
    const train::ScheduleOptions o{
        .kind = kind, .warmup = 10, .final_share = 0.1, .decay_share = 0.5};
    for (int64_t step = 0; step < 10; ++step)
      EXPECT_NEAR(train::learning_rate_share(o, step, 100), (step + 1) / 11.0, 1e-12) << kind;
    EXPECT_NEAR(train::learning_rate_share(o, 10, 100), 1, 1e-12) << kind;
    EXPECT_NEAR(train::learning_rate_share(o, 99, 100), 0.1, 1e-12) << kind;
    for (int64_t step = 11; step < 100; ++step)
      EXPECT_LE(train::learning_rate_share(o, step, 100),
                train::learning_rate_share(o, step - 1, 100) + 1e-12)
          << kind;
  }
}

TEST(Schedule, StableDecayHoldsThePeakUntilItsShareIsLeft) {
  const train::ScheduleOptions o{.kind = "wsd", .warmup = 0, .final_share = 0, .decay_share = 0.25};
  EXPECT_EQ(train::learning_rate_share(o, 70, 101), 1);
  EXPECT_NEAR(train::learning_rate_share(o, 88, 101), 0.48, 1e-9);
}

}  // namespace
}  // namespace moe::test
