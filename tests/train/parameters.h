#pragma once
// Parameters like a model's, of each part and role, and what holds of optimizers over any of them.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <gtest/gtest.h>

#include <moe/parameters/list.h>
#include <moe/train/optimizer.h>

namespace moe::test {

/// A parameter of normal float64 numbers that learns.
inline Parameter learning(const std::string& name, at::IntArrayRef shape, ParameterInfo info) {
  return {name, at::randn(shape, at::kDouble).requires_grad_(true), std::move(info)};
}

inline const ParameterInfo kEmbeddingInfo{.role = Role::kEmbedding};
inline const ParameterInfo kMatrixInfo{.role = Role::kMatrix};
inline const ParameterInfo kHeadInfo{.role = Role::kHead};
inline const ParameterInfo kScaleInfo{.role = Role::kScale};
inline const ParameterInfo kRouterInfo{
    .role = Role::kScores, .part = Part::kRouter, .per_expert = true};
inline const ParameterInfo kStackInfo{
    .role = Role::kMatrix, .part = Part::kExperts, .per_expert = true};
inline const ParameterInfo kStackBiasInfo{
    .role = Role::kBias, .part = Part::kExperts, .per_expert = true};

/// Normal gradients of those that learn.
inline void draw_gradients(const Parameters& parameters) {
  for (const auto& parameter : parameters)
    if (parameter.tensor.requires_grad())
      parameter.tensor.mutable_grad() = at::randn_like(parameter.tensor).detach();
}

/// Counts by which every expert has tokens.
inline train::ExpertTokens busy(const Parameters& parameters) {
  train::ExpertTokens out;
  for (const auto& [name, tensor, info] : parameters) {
    const bool of_experts = info.part == Part::kExperts;
    const int64_t experts = info.expert ? *info.expert + 1 : info.first_expert + tensor.size(0);
    out.push_back(of_experts ? at::ones({experts}, at::kLong) : at::Tensor());
  }
  return out;
}

/// Parameters `two` under `second` go on as `one` under `first` once they have its state and
/// numbers.
inline void expect_state_is_all(const Parameters& one, train::Optimizer& first,
                                const Parameters& two, train::Optimizer& second) {
  draw_gradients(one);
  first.step(0.1, 0, busy(one));
  const auto from = first.state(), to = second.state();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    at::Tensor(to[i].tensor).copy_(from[i].tensor);
  }
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < one.size(); ++i) at::Tensor(two[i].tensor).copy_(one[i].tensor);
  draw_gradients(one);
  for (size_t i = 0; i < one.size(); ++i)
    two[i].tensor.mutable_grad() = one[i].tensor.grad().clone();
  first.step(0.1, 1, busy(one));
  second.step(0.1, 1, busy(two));
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_TRUE(one[i].tensor.equal(two[i].tensor)) << one[i].name;
}

}  // namespace moe::test
