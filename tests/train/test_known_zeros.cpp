// Optimizer steps with gradient sinks against steps with gradients of autograd.
#include <cmath>
#include <random>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/experts/stacked.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>
#include <moe/train/clip.h>

#include "tests/support/compare.h"
#include "tests/support/sinks.h"

namespace moe::test {
namespace {

using ops::GradientSinks;

/// `gradient` with zeros for all experts but those of `live`.
Tensor zeros_but(const Tensor& gradient, const std::vector<int64_t>& live) {
  Tensor out = at::zeros_like(gradient);
  for (const int64_t e : live) out.select(0, e).copy_(gradient.select(0, e));
  return out;
}

GradientSinks with(const ops::GradientSinkPtr& sink) {
  GradientSinks sinks;
  sinks.add(sink);
  return sinks;
}

TEST(KnownZeros, GiveTheUpdateThatZerosInMemoryGive) {
  std::minstd_rand random(3);
  // Of whole steps of ranges, larger than a piece of zeros, and of sizes that are no whole
  // register.
  for (const auto& sizes :
       {std::vector<int64_t>{7, 8, 32}, {3, 600, 512}, {5, 7, 9}, {64, 3, 5}, {1, 33}, {40, 1}}) {
    at::manual_seed(1);
    const Tensor start = at::randn(sizes);
    const Tensor dense = start.clone().requires_grad_(true),
                 sunk = start.clone().requires_grad_(true);
    const auto sink = sink_of(sunk);
    train::AdamW one({{"experts.w_in", dense}}, {}), two({{"experts.w_in", sunk}}, {}, with(sink));
    for (int64_t step = 0; step < 20; ++step) {
      std::vector<int64_t> live;
      for (int64_t e = 0; e < sizes[0]; ++e)
        if (random() % 3 == 0 && step != 5) live.push_back(e);
      const Tensor gradient = at::randn(sizes);
      dense.mutable_grad() = zeros_but(gradient, live);
      put(*sink, gradient, live);
      expect_identical(sunk.grad(), dense.grad());
      EXPECT_EQ(two.sinks().knowing(sunk), sink.get());
      one.step(1e-2, step);
      two.step(1e-2, step);
      one.zero_gradients();
      two.zero_gradients();
      EXPECT_EQ(two.sinks().knowing(sunk), nullptr);
    }
    expect_identical(sunk.detach(), dense.detach());
    for (size_t i = 0; i < one.state().size(); ++i)
      expect_identical(two.state()[i].second, one.state()[i].second, two.state()[i].first);
  }
}

TEST(KnownZeros, GiveTheNormAndTheClippingThatZerosInMemoryGive) {
  for (const auto& sizes : {std::vector<int64_t>{6, 40, 512}, {6, 7, 9}}) {
    const Tensor gradient = at::randn(sizes), dense = at::zeros(sizes).requires_grad_(true),
                 sunk = at::zeros(sizes).requires_grad_(true);
    const auto sink = sink_of(sunk);
    const auto sinks = with(sink);
    dense.mutable_grad() = zeros_but(gradient, {0, 3});
    put(*sink, gradient, {0, 3});
    const train::NamedTensors one = {{"experts.w_in", dense}}, two = {{"experts.w_in", sunk}};
    const auto group = parallel::local();
    const double norm = train::gradient_norm(two, *group, sinks);
    EXPECT_EQ(norm, train::gradient_norm(one, *group));
    EXPECT_NEAR(norm, dense.grad().norm().item<double>(), 1e-3);
    train::clip_gradients(one, norm, norm / 3);
    train::clip_gradients(two, norm, norm / 3, sinks);
    expect_identical(sunk.grad(), dense.grad());
    EXPECT_EQ(sinks.knowing(sunk), sink.get()) << "clipping forgot the zeros";
    Tensor(sunk.grad()).select(0, 3).fill_(NAN);
    EXPECT_TRUE(std::isnan(train::gradient_norm(two, *group, sinks)));
  }
}

TEST(KnownZeros, AreNeitherReadNorWritten) {
  at::manual_seed(2);
  const Tensor dense = at::randn({8, 16, 32}).requires_grad_(true),
               sunk = dense.detach().clone().requires_grad_(true);
  const auto sink = sink_of(sunk);
  const auto sinks = with(sink);
  train::AdamW one({{"experts.w_in", dense}}, {}), two({{"experts.w_in", sunk}}, {}, sinks);
  // Expert 1 had a gradient before; 2 and 4 are idle for the first time.
  put(*sink, at::randn({8, 16, 32}), {0, 1, 3});
  two.zero_gradients();
  for (int64_t step = 0; step < 2; ++step) {
    const Tensor gradient = at::randn({8, 16, 32});
    dense.mutable_grad() = zeros_but(gradient, {0, 3, 7});
    put(*sink, gradient, {0, 3, 7});
    for (const int64_t e : {1, 2, 4, 5, 6}) poison(sunk.grad(), e);
    const double norm = train::gradient_norm(two.parameters(), *parallel::local(), sinks);
    EXPECT_EQ(norm, train::gradient_norm(one.parameters(), *parallel::local()));
    train::clip_gradients(one.parameters(), norm, norm / 2);
    train::clip_gradients(two.parameters(), norm, norm / 2, sinks);
    one.step(0.1, step);
    two.step(0.1, step);
    for (const int64_t e : {1, 2, 4, 5, 6}) EXPECT_TRUE(is_poisoned(sunk.grad(), e)) << e;
    two.zero_gradients();
  }
  expect_identical(sunk.detach(), dense.detach());
}

TEST(KnownZeros, AreForgottenWhenSomebodyChangesTheGradient) {
  const Tensor parameter = at::zeros({4, 3, 3}).requires_grad_(true);
  const auto sink = sink_of(parameter);
  train::AdamW optimizer({{"experts.w_in", parameter}}, {}, with(sink));
  put(*sink, at::ones({4, 3, 3}), {1});
  Tensor(parameter.grad()).select(0, 2).fill_(5);
  EXPECT_EQ(optimizer.sinks().knowing(parameter), nullptr);
  EXPECT_NEAR(train::gradient_norm(optimizer.parameters(), *parallel::local(), optimizer.sinks()),
              std::sqrt(9 + 9 * 25), 1e-12);
  optimizer.step(0.1, 0);
  EXPECT_TRUE(parameter[2].lt(0).all().item<bool>()) << "the gradient that was written in counts";
  EXPECT_TRUE(parameter[3].eq(0).all().item<bool>());
}

TEST(KnownZeros, AreForgottenWhenRanksAddTheirGradients) {
  parallel::run_ranks(2, [](const std::shared_ptr<parallel::Communicator>& group) {
    const Tensor parameter = at::zeros({4, 3, 3}).requires_grad_(true);
    const auto sink = sink_of(parameter);
    // Replicated: its gradients are added over the ranks, which have different idle experts.
    train::AdamW optimizer({{"shared.w_in", parameter}}, {}, with(sink));
    put(*sink, at::full({4, 3, 3}, 1.0 + static_cast<double>(group->rank())), {group->rank()});
    parallel::reduce_gradients(optimizer.parameters(), *group);
    EXPECT_EQ(optimizer.sinks().knowing(parameter), nullptr);
    const double norm = train::gradient_norm(optimizer.parameters(), *group, optimizer.sinks());
    EXPECT_NEAR(norm, std::sqrt(9 + 9 * 4), 1e-12);
    train::clip_gradients(optimizer.parameters(), norm, 1, optimizer.sinks());
    optimizer.step(0.1, 0);
    for (const int64_t e : {0, 1}) EXPECT_TRUE(parameter[e].lt(0).all().item<bool>()) << e;
    // The next pass begins with memory that may hold anything.
    optimizer.zero_gradients();
    put(*sink, at::ones({4, 3, 3}), {3});
    expect_identical(parameter.grad(), zeros_but(at::ones({4, 3, 3}), {3}));
  });
}

}  // namespace
}  // namespace moe::test
