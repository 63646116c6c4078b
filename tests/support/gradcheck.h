#pragma once
// Gradients against central differences, in float64. R rows, E columns.

#include <cmath>
#include <functional>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/base/random.h>
#include <moe/ops/random_fill.h>

namespace moe::test {

using at::Tensor;

/// Standard normal float64 numbers, the same for the same seed.
inline Tensor normal(at::IntArrayRef sizes, uint64_t seed) {
  Tensor values = at::empty(sizes, at::kDouble);
  ops::fill_normal_(values, RandomStream(RandomKey{.seed = seed}, Purpose::kTest), 1.0);
  return values;
}

/// `values_RE` with every row spread out, in unchanged order, until neighbours differ by at least
/// `gap`: a finite difference must not swap two near-ties.
inline Tensor spread(const Tensor& values_RE, double gap) {
  const Tensor rank_RE = at::argsort(at::argsort(values_RE, int64_t{1}), int64_t{1});
  return values_RE + rank_RE.to(values_RE.scalar_type()) * gap;
}

/// Compares autograd with central differences for every element of every input.
///
/// `fn` maps the inputs, which are float64 leaves and may be a module's parameters, to one tensor;
/// it is weighted by fixed random numbers to become a scalar. An element passes when |analytic -
/// numeric| <= tolerance (1 + |numeric|).
inline void expect_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& fn,
                             std::vector<Tensor> inputs, double eps = 1e-6,
                             double tolerance = 1e-6) {
  for (Tensor& input : inputs) {
    ASSERT_TRUE(input.scalar_type() == at::kDouble && input.is_leaf() && input.is_contiguous());
    input.set_requires_grad(true);
  }
  const Tensor output = fn(inputs);
  const Tensor weights = normal(output.sizes(), 977).to(output.scalar_type());
  const Tensor scalar = (output * weights).sum();
  std::vector<Tensor> analytic(inputs.size());
  if (scalar.requires_grad())
    analytic = torch::autograd::grad({scalar}, inputs, {}, std::nullopt, /*create_graph=*/false,
                                     /*allow_unused=*/true);

  const at::NoGradGuard no_grad;
  const auto evaluate = [&] { return (fn(inputs) * weights).sum().item<double>(); };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor gradient =
        (analytic[i].defined() ? analytic[i] : at::zeros_like(inputs[i])).contiguous();
    ASSERT_EQ(gradient.sizes(), inputs[i].sizes());
    double* data = inputs[i].mutable_data_ptr<double>();
    for (int64_t j = 0; j < inputs[i].numel(); ++j) {
      const double before = data[j];
      data[j] = before + eps;
      const double above = evaluate();
      data[j] = before - eps;
      const double below = evaluate();
      data[j] = before;
      const double numeric = (above - below) / (2 * eps);
      const double found = gradient.const_data_ptr<double>()[j];
      EXPECT_LE(std::abs(found - numeric), tolerance * (1 + std::abs(numeric)))
          << "input " << i << ", element " << j << ": analytic " << found << ", numeric "
          << numeric;
    }
  }
}

}  // namespace moe::test
