#pragma once
// Coefficients of other programs in this library's convention.

#include <cstdint>

namespace moe::balance {

/// transformers (router_aux_loss_coef of Mixtral, OLMoE, …) and flaxformer do not divide f by K:
/// their auxiliary loss is K at balance where the term "switch" is 1. Returns the coefficient
/// for "switch" that gives the same loss. transformers takes f and P over all layers together; a
/// sum of this term over L layers, each with 1/L of the coefficient, has the same value at balance.
constexpr double from_transformers(double coefficient, int64_t top_k) {
  return coefficient * static_cast<double>(top_k);
}

/// The way back.
constexpr double to_transformers(double coefficient, int64_t top_k) {
  return coefficient / static_cast<double>(top_k);
}

}  // namespace moe::balance
