#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/train/clip.h>
#include <moe/train/optimizer.h>
#include <moe/train/schedule.h>

namespace moe::test {
namespace {

train::NamedTensors parameters_like_a_model() {
  at::manual_seed(1);
  train::NamedTensors out;
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    out.emplace_back(name, at::randn(shape, at::kDouble).requires_grad_(true));
  };
  add("embedding", {5, 3});
  add("layers.0.attention.w_q", {4, 3});
  add("layers.0.moe.router.weight", {2, 3});
  add("layers.0.moe.experts.w_in", {2, 4, 3});
  add("layers.0.moe.experts.b_in", {2, 4});
  add("norm.scale", {3});
  return out;
}

/// The textbook update of one tensor.
struct NaiveAdamW {
  at::Tensor m, v;
  int64_t steps = 0;
  at::Tensor update(const at::Tensor& p, const at::Tensor& g, double lr, double decay,
                    const train::OptimizerOptions& o) {
    if (!m.defined()) m = at::zeros_like(p), v = at::zeros_like(p);
    ++steps;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(o.beta1, steps)),
                     v_hat = v / (1 - std::pow(o.beta2, steps));
    return p - lr * (m_hat / (v_hat.sqrt() + o.epsilon) + decay * p);
  }
};

TEST(AdamW, EqualsTheTextbookWithGroupsByName) {
  train::OptimizerOptions options;
  options.expert_lr_factor = 0.5;
  options.router_lr_factor = 2;
  options.router_warmup = 4;
  auto parameters = parameters_like_a_model();
  train::AdamW optimizer(parameters, options);
  const std::vector<double> decays = {0, 0.1, 0.1, 0.1, 0, 0}, factors = {1, 1, 2, 0.5, 0.5, 1};
  std::vector<NaiveAdamW> naive(parameters.size());
  for (int64_t step = 0; step < 6; ++step) {
    std::vector<at::Tensor> expected;
    for (size_t i = 0; i < parameters.size(); ++i) {
      auto& p = parameters[i].second;
      p.mutable_grad() = at::randn_like(p).detach();
      const double warmup = i == 2 ? std::min(1.0, (step + 1) / 4.0) : 1;
      expected.push_back(
          naive[i].update(p.detach(), p.grad(), 0.01 * factors[i] * warmup, decays[i], options));
    }
    optimizer.step(0.01, step);
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_LT((parameters[i].second.detach() - expected[i]).abs().max().item<double>(), 1e-12)
          << parameters[i].first;
  }
}

TEST(AdamW, ParametersWithoutGradientStay) {
  auto parameters = parameters_like_a_model();
  const at::Tensor before = parameters[0].second.detach().clone();
  train::AdamW optimizer(parameters, {});
  parameters[1].second.mutable_grad() = at::ones_like(parameters[1].second);
  optimizer.step(0.1, 0);
  EXPECT_TRUE(before.equal(parameters[0].second));
  EXPECT_EQ(optimizer.state().back().second[0].item<float>(), 0);
  EXPECT_EQ(optimizer.state().back().second[1].item<float>(), 1);
}

TEST(Clip, NormIsThatOfAllGradientsAndClippingScalesThem) {
  auto parameters = parameters_like_a_model();
  double squares = 0;
  for (auto& [name, p] : parameters) {
    p.mutable_grad() = at::randn_like(p).detach();
    squares += p.grad().square().sum().item<double>();
  }
  const auto group = parallel::local();
  const double norm = train::gradient_norm(parameters, *group);
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-12);
  train::clip_gradients(parameters, norm, 2 * norm);
  EXPECT_NEAR(train::gradient_norm(parameters, *group), norm, 1e-12);
  train::clip_gradients(parameters, norm, 0.25);
  EXPECT_NEAR(train::gradient_norm(parameters, *group), 0.25, 1e-12);
}

TEST(Clip, NormIsNotFiniteWhenAGradientIsNot) {
  auto parameters = parameters_like_a_model();
  parameters[3].second.mutable_grad() = at::full_like(parameters[3].second, NAN).detach();
  EXPECT_TRUE(std::isnan(train::gradient_norm(parameters, *parallel::local())));
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
