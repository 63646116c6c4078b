#pragma once
// Small modules with parameters of every kind. E experts.

#include <memory>

#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <moe/parameters/list.h>
#include <moe/parameters/module.h>

namespace moe::test {

/// A matrix, a scale, a bias and a buffer.
class Leaf final : public Module {
 public:
  explicit Leaf(const at::TensorOptions& tensors = {}, std::optional<Part> part = std::nullopt)
      : Module(tensors), part_(part) {
    add_parameter("matrix", {6, 4}, {.role = Role::kMatrix, .residual = true});
    add_parameter("gain", {6}, {.role = Role::kScale});
    add_parameter("offset", {6}, {.role = Role::kBias});
    add_parameter("scores", {3, 4}, {.role = Role::kScores, .per_expert = true});
    add_parameter("table", {50, 4}, {.role = Role::kEmbedding});
    add_parameter("started", {2},
                  {.start = [](Tensor values, const RandomStream&) { values.fill_(7); }});
    add_buffer("counts", {3}, at::kLong);
    add_buffer("drift", {3}, at::kFloat);
  }
  std::optional<Part> part() const override { return part_; }

 private:
  std::optional<Part> part_;
};

/// Leaves, a module of libtorch's own, and a tensor under two names.
class Tree final : public Module {
 public:
  explicit Tree(const at::TensorOptions& tensors = {}) : Module(tensors) {
    const Tensor tied = add_parameter("tied", {2, 3}, {.role = Role::kEmbedding});
    register_module("router", std::make_shared<Leaf>(tensors, Part::kRouter));
    register_module("plain", std::make_shared<Leaf>(tensors));
    torch::nn::Sequential own(torch::nn::Linear(4, 3), torch::nn::Conv1d(2, 2, 3));
    add_foreign("own", own.ptr(), {.part = Part::kExperts, .expert = 2});
    register_parameter("again", tied);
  }
};

inline const Parameter& find(const Parameters& parameters, const std::string& name) {
  for (const auto& parameter : parameters)
    if (parameter.name == name) return parameter;
  throw std::out_of_range(name);
}

}  // namespace moe::test
