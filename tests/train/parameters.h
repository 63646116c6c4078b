#pragma once
// Parameters like a model's, of each part and role.

#include <ATen/ops/randn.h>

#include <moe/parameters/list.h>

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

}  // namespace moe::test
