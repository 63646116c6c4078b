// What the grouped products keep for the backward pass, and what they leave out of it.
#include <tests/ops/grouped_cases.h>
#include <tests/support/compare.h>

namespace moe::ops::grouped_test {

namespace {

using moe::test::expect_identical;

/// The gradients of source, w_in, w_out, b_in and b_out, from `passes` passes through one graph.
std::vector<Tensor> gradients_of(const Mlp& mlp, const Rows& rows, const Tensor& keep_RF,
                                 at::ScalarType dtype, bool recompute, int passes = 1) {
  std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), mlp.w_in, mlp.w_out};
  if (mlp.b_in.defined()) inputs.insert(inputs.end(), {mlp.b_in, mlp.b_out});
  for (Tensor& input : inputs) input = input.detach().to(dtype, false, true).requires_grad_(true);
  const bool bias = mlp.b_in.defined();
  const Mlp tracked = {inputs[1], bias ? inputs[3] : Tensor(),
                       inputs[2], bias ? inputs[4] : Tensor(),
                       mlp.act,   mlp.gated};
  const Tensor out_RO = run(tracked, inputs[0], rows, keep_RF, recompute);
  const Tensor dout_RO = normal(out_RO.sizes(), 9).to(dtype);
  std::vector<Tensor> gradients;
  for (int pass = 0; pass < passes; ++pass) {
    for (Tensor& input : inputs) input.mutable_grad().reset();
    out_RO.backward(dout_RO, /*retain_graph=*/true);
    gradients.clear();
    for (const Tensor& input : inputs) gradients.push_back(input.grad().clone());
  }
  return gradients;
}

TEST(GroupedMlp, RecomputingOrGoingBackAgainChangesNoBit) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16})
    for_all([&](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
      const auto expected = gradients_of(mlp, rows, keep_RF, dtype, false);
      const auto recomputed = gradients_of(mlp, rows, keep_RF, dtype, true);
      const auto again = gradients_of(mlp, rows, keep_RF, dtype, false, /*passes=*/2);
      for (size_t i = 0; i < expected.size(); ++i) {
        expect_identical(recomputed[i], expected[i]);
        expect_identical(again[i], expected[i]);
      }
    });
}

TEST(GroupedMlp, FrozenParametersGetNoGradientAndChangeNoOther) {
  const Rows rows = loads()[0];
  const Mlp mlp = Parameters(true, true, Activation::kSilu).mlp;
  const auto expected = gradients_of(mlp, rows, {}, at::kFloat, false);
  std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), mlp.w_in, mlp.w_out, mlp.b_in,
                                mlp.b_out};
  for (size_t learning = 0; learning < inputs.size(); ++learning) {
    std::vector<Tensor> some;
    for (size_t i = 0; i < inputs.size(); ++i)
      some.push_back(inputs[i].detach().to(at::kFloat).clone().requires_grad_(i == learning));
    const Tensor out_RO =
        run({some[1], some[3], some[2], some[4], mlp.act, true}, some[0], rows, {});
    out_RO.backward(normal(out_RO.sizes(), 9).to(at::kFloat));
    for (size_t i = 0; i < some.size(); ++i) EXPECT_EQ(some[i].grad().defined(), i == learning);
    expect_identical(some[learning].grad(), expected[learning]);
  }
}

}  // namespace

}  // namespace moe::ops::grouped_test
