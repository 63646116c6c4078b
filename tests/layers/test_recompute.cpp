// Activation recomputation of any part of a forward pass.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/recompute.h>

namespace moe::layers::recompute_test {

namespace {

using moe::test::expect_identical;
using moe::test::normal;

struct Net : torch::nn::Module {
  Net() {
    w = register_parameter("w", normal({3, 3}, 1));
    b = register_parameter("b", normal({3}, 2));
  }
  std::vector<Tensor> part(const Tensor& x) {
    ++calls;
    const Tensor h = at::tanh(x.matmul(w)) + b;
    return {x + h, h.square().sum(), at::zeros({}, x.options())};
  }
  Tensor w, b;
  int calls = 0;
};

Tensor loss_of(const std::vector<Tensor>& out) {
  return out[0].square().sum() + 0.3 * out[1] + out[2];
}

TEST(Recomputed, GivesTheBitsOfAPlainCallAndCallsTwice) {
  Net plain, again;
  Tensor x = normal({4, 3}, 5).set_requires_grad(true), y = x.detach().clone();
  y.set_requires_grad(true);
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    const Tensor expected = loss_of(plain.part(x * 2));
    const Tensor got = loss_of(recomputed(
        again, [&](const Tensor& in) { return again.part(in); }, y * 2));
    expect_identical(got.detach(), expected.detach());
    expected.backward();
    got.backward();
  }
  expect_identical(y.grad(), x.grad());
  for (const auto& [name, gradient] : moe::test::gradients_of(plain))
    expect_identical(moe::test::gradients_of(again).at(name), gradient, name);
  EXPECT_EQ(plain.calls, 2);
  EXPECT_EQ(again.calls, 4);
}

TEST(Recomputed, ReachesParametersWhenTheInputNeedsNoGradient) {
  Net net;
  const Tensor x = normal({4, 3}, 5);
  loss_of(recomputed(
              net, [&](const Tensor& in) { return net.part(in); }, x))
      .backward();
  EXPECT_GT(net.w.grad().abs().sum().item<double>(), 0);
  EXPECT_FALSE(x.grad().defined());
}

TEST(Recomputed, LeavesFrozenParametersAlone) {
  Net net;
  net.w.set_requires_grad(false);
  Tensor x = normal({4, 3}, 5).set_requires_grad(true);
  loss_of(recomputed(
              net, [&](const Tensor& in) { return net.part(in); }, x))
      .backward();
  EXPECT_FALSE(net.w.grad().defined());
  EXPECT_TRUE(net.b.grad().defined() && x.grad().defined());
}

TEST(Recomputed, IsAPlainCallWhereNothingLearns) {
  Net net;
  const Tensor x = normal({4, 3}, 5);
  const auto run = [&] {
    return recomputed(
        net, [&](const Tensor& in) { return net.part(in); }, x);
  };
  {
    const at::NoGradGuard no_grad;
    EXPECT_FALSE(run()[0].requires_grad());
  }
  net.w.set_requires_grad(false);
  net.b.set_requires_grad(false);
  EXPECT_FALSE(run()[0].requires_grad());
  EXPECT_EQ(net.calls, 2);
}

TEST(Recomputed, OutputsThatTheLossLeavesOutGiveNoGradient) {
  Net plain, again;
  plain.part(normal({4, 3}, 5))[1].backward();
  recomputed(
      again, [&](const Tensor& in) { return again.part(in); }, normal({4, 3}, 5))[1]
      .backward();
  expect_identical(again.w.grad(), plain.w.grad());
}

TEST(Recomputed, RefusesSecondDerivatives) {
  Net net;
  Tensor x = normal({4, 3}, 5).set_requires_grad(true);
  const Tensor loss = loss_of(recomputed(
      net, [&](const Tensor& in) { return net.part(in); }, x));
  EXPECT_ERROR(loss.backward({}, /*retain_graph=*/true, /*create_graph=*/true),
               "a backward pass that makes no graph");
}

}  // namespace

}  // namespace moe::layers::recompute_test
