// Muon against its definition. R rows, C columns.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/ops/newton_schulz.h>
#include <moe/train/optimizer.h>
#include <moe/train/optimizers/muon.h>

#include "tests/train/parameters.h"

namespace moe::test {
namespace {

using at::Tensor;
using train::make_optimizer;
using train::OptimizerOptions;

constexpr double kLr = 0.01, kDecay = 0.1;

/// Momentum and update of one matrix, as the paper has them.
struct NaiveMuon {
  Muon options;
  Tensor m;

  Tensor update(const Tensor& p, const Tensor& g) {
    m = m.defined() ? options.momentum * m + g : g.clone();
    const Tensor u = options.nesterov ? g + options.momentum * m : m;
    const auto R = static_cast<double>(p.size(0)), C = static_cast<double>(p.size(1));
    const double scale = options.scale == "original" ? std::sqrt(std::max(1.0, R / C))
                                                     : 0.2 * std::sqrt(std::max(R, C));
    return p - kLr * (scale * ops::newton_schulz(u, options.newton_schulz_steps) + kDecay * p);
  }
};

double off(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Muon, EqualsItsDefinitionForEachExpertAndEachFusedMatrix) {
  for (const Muon& muon :
       {Muon{},
        Muon{.momentum = 0.8, .nesterov = false, .newton_schulz_steps = 3, .scale = "original"}}) {
    at::manual_seed(1);
    ParameterInfo fused = kStackInfo;
    fused.fused = {3, 5};
    const Parameters parameters = {learning("plain", {7, 4}, kMatrixInfo),
                                   learning("stack", {3, 8, 4}, fused)};
    const auto optimizer =
        make_optimizer(parameters, {.rule = muon, .lr = kLr, .weight_decay = kDecay});
    NaiveMuon plain{muon, {}};
    std::vector<NaiveMuon> parts(6, NaiveMuon{muon, {}});
    for (int64_t step = 0; step < 4; ++step) {
      for (const auto& parameter : parameters)
        parameter.tensor.mutable_grad() = at::randn_like(parameter.tensor).detach();
      const Tensor& p = parameters[0].tensor;
      const Tensor expected = plain.update(p.detach(), p.grad());
      const Tensor stack = parameters[1].tensor.detach(), gradient = parameters[1].tensor.grad();
      Tensor expected_stack = at::empty_like(stack);
      for (int64_t e = 0; e < 3; ++e)
        for (int64_t part = 0; part < 2; ++part) {
          const auto cut = [&](const Tensor& t) {
            return part == 0 ? t[e].slice(0, 0, 3) : t[e].slice(0, 3, 8);
          };
          cut(expected_stack)
              .copy_(parts[static_cast<size_t>(2 * e + part)].update(cut(stack), cut(gradient)));
        }
      optimizer->step(kLr, step);
      EXPECT_LT(off(p.detach(), expected), 1e-12);
      EXPECT_LT(off(parameters[1].tensor.detach(), expected_stack), 1e-12);
    }
  }
}

TEST(Muon, LeavesTheRestToAdamW) {
  at::manual_seed(2);
  const Parameters parameters = {learning("embedding", {5, 3}, kEmbeddingInfo),
                                 learning("scores", {2, 3}, kRouterInfo),
                                 learning("head", {5, 3}, kHeadInfo),
                                 learning("scale", {3}, kScaleInfo),
                                 learning("bias", {2, 4}, kStackBiasInfo),
                                 learning("vector", {3}, kMatrixInfo),
                                 learning("stacked_vectors", {2, 3}, kStackInfo)};
  Parameters twins = parameters;
  for (auto& twin : twins) twin.tensor = twin.tensor.detach().clone().requires_grad_(true);
  const auto muon =
      make_optimizer(parameters, {.rule = Muon{.adamw_lr_factor = 0.5, .rest = {.beta1 = 0.7}}});
  const auto adamw = make_optimizer(twins, {.rule = AdamW{.beta1 = 0.7}});
  for (int64_t step = 0; step < 3; ++step) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i].tensor.mutable_grad() = at::randn_like(parameters[i].tensor).detach();
      twins[i].tensor.mutable_grad() = parameters[i].tensor.grad().clone();
    }
    muon->step(0.1, step);
    adamw->step(0.05, step);
  }
  for (size_t i = 0; i < parameters.size(); ++i)
    EXPECT_TRUE(parameters[i].tensor.equal(twins[i].tensor)) << parameters[i].name;
  std::vector<std::string> names;
  for (const auto& state : muon->state()) EXPECT_FALSE(state.name.ends_with(".momentum"));
}

TEST(Muon, TakesConvolutionsOfOthersAsMatricesOfAllTheirInputs) {
  at::manual_seed(3);
  const Parameters parameters = {learning("convolution", {6, 2, 3, 3}, {.keeps_start = true})};
  const auto optimizer = make_optimizer(parameters, {.rule = Muon{}, .weight_decay = kDecay});
  const Tensor before = parameters[0].tensor.detach().clone(), g = at::randn_like(before);
  parameters[0].tensor.mutable_grad() = g.clone();
  NaiveMuon naive{Muon{}, {}};
  const Tensor expected = naive.update(before.flatten(1), g.flatten(1)).view(before.sizes());
  optimizer->step(kLr, 0);
  EXPECT_LT(off(parameters[0].tensor.detach(), expected), 1e-12);
}

TEST(Muon, UpdatesAreAsLargeAsAdamWs) {
  at::manual_seed(4);
  for (const auto& [R, C] : {std::pair<int64_t, int64_t>{64, 64}, {32, 128}, {128, 32}}) {
    const Parameters parameters = {learning("matrix", {R, C}, kMatrixInfo)};
    const auto optimizer = make_optimizer(parameters, {.rule = Muon{}, .weight_decay = 0});
    const Tensor before = parameters[0].tensor.detach().clone();
    parameters[0].tensor.mutable_grad() = at::randn({R, C}, at::kDouble);
    optimizer->step(1, 0);
    const double rms =
        (parameters[0].tensor.detach() - before).square().mean().sqrt().item<double>();
    EXPECT_NEAR(rms, 0.2, 0.04) << R << 'x' << C;  // AdamW's are 0.2 to 0.4 of its rate
  }
}

TEST(Muon, RunsInTheTypeItIsTold) {
  at::manual_seed(5);
  Tensor updates[2];
  const Tensor g = at::randn({48, 32});
  for (const char* dtype : {"float32", "bfloat16"}) {
    Parameter parameter{"matrix", at::zeros({48, 32}).requires_grad_(true), kMatrixInfo};
    const auto optimizer = make_optimizer({parameter}, {.rule = Muon{.dtype = dtype}});
    parameter.tensor.mutable_grad() = g.clone();
    optimizer->step(0.1, 0);
    updates[dtype == std::string("bfloat16")] = parameter.tensor.detach();
  }
  const double difference =
      (updates[0] - updates[1]).norm().item<double>() / updates[0].norm().item<double>();
  EXPECT_GT(difference, 1e-5);
  EXPECT_LT(difference, 0.05);
}

}  // namespace
}  // namespace moe::test
