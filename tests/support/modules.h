#pragma once
// Parameters of modules under test.

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <moe/ops/random_fill.h>
#include <moe/parameters/initialise.h>
#include <moe/parameters/list.h>

namespace moe::test {

using at::Tensor;

/// `module` with numbers: what a kind's constructor makes is unfilled.
template <class M>
std::shared_ptr<M> initialised(std::shared_ptr<M> module, const InitOptions& options = {},
                               uint64_t seed = 0, const std::string& prefix = "") {
  initialise(*module, options, seed, /*depth=*/0, prefix);
  return module;
}

/// Makes the module float64 and draws every parameter anew, those among them that are never trained
/// too, so that biases and scales matter too. Padding stays zero.
inline void randomise(torch::nn::Module& module, uint64_t seed, double std = 0.5) {
  module.to(at::kDouble);
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : tensors_of(module)) {
    const auto& [name, tensor, info] = parameter;
    if (info.role == Role::kState) continue;
    ops::fill_normal_(tensor, RandomStream(seed, name), std);
    for (size_t e = 0; e < info.used.size(); ++e) {
      const auto [rows, columns] = info.used[e];
      const Tensor whole = tensor[static_cast<int64_t>(e)];
      whole.narrow(0, rows, whole.size(0) - rows).zero_();
      if (whole.dim() > 1) whole.narrow(1, columns, whole.size(1) - columns).zero_();
    }
  }
}

/// Copies of all gradients by name; zeros where there is none.
inline std::map<std::string, Tensor> gradients_of(const torch::nn::Module& module) {
  std::map<std::string, Tensor> out;
  for (const auto& item : module.named_parameters()) {
    const Tensor& gradient = item.value().grad();
    out[item.key()] = gradient.defined() ? gradient.clone() : at::zeros_like(item.value());
  }
  return out;
}

/// Compares autograd with a central difference along one random direction of each tensor: two
/// evaluations a tensor, for losses that cost too much for one an element.
inline void expect_directional_gradients(const std::function<Tensor()>& loss,
                                         const std::vector<std::pair<std::string, Tensor>>& tensors,
                                         double eps = 1e-6, double tolerance = 1e-6) {
  for (auto [name, tensor] : tensors) {
    tensor.set_requires_grad(true);
    tensor.mutable_grad() = Tensor();
  }
  loss().backward();
  const at::NoGradGuard no_grad;
  for (auto [name, tensor] : tensors) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    Tensor direction = at::zeros_like(tensor);
    ops::fill_normal_(direction, RandomStream(13, name), 1);
    const double analytic = (tensor.grad() * direction).sum().item<double>();
    const Tensor before = tensor.clone();
    tensor.copy_(before + direction * eps);
    const double above = loss().item<double>();
    tensor.copy_(before - direction * eps);
    const double below = loss().item<double>();
    tensor.copy_(before);
    const double numeric = (above - below) / (2 * eps);
    EXPECT_LE(std::abs(analytic - numeric), tolerance * (1 + std::abs(numeric)))
        << name << ": analytic " << analytic << ", numeric " << numeric;
  }
}

inline std::vector<std::pair<std::string, Tensor>> named_parameters_of(
    const torch::nn::Module& module) {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& item : module.named_parameters()) out.emplace_back(item.key(), item.value());
  return out;
}

/// The parameters of `to` become those of `from`, which has the same names.
inline void copy_parameters(const torch::nn::Module& from, torch::nn::Module& to) {
  const at::NoGradGuard no_grad;
  const auto source = from.named_parameters();
  for (auto& item : to.named_parameters()) item.value().copy_(source[item.key()]);
}

}  // namespace moe::test
