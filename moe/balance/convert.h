#pragma once
// Coefficients of other programs in this library's convention. E experts, K choices per token.

#include <cstdint>
#include <string>
#include <vector>

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

inline constexpr const char* kOwnConvention = "own";

/// "own" and the programs that coefficient_from knows.
const std::vector<std::string>& conventions();

/// A term as another program has it.
struct ForeignTerm {
  std::string kind = "switch";
  /// Which choices "switch" counts: "all" or "first"; of "z_loss" its form; else not read.
  std::string form = "all";
  double coefficient = 0;
  int64_t num_experts = 1;
  int64_t top_k = 1;
  /// Layers of the model that have the term.
  int64_t layers = 1;
};

/// The coefficient with which our term, summed over the layers, is the loss of `convention`:
///
///   transformers     load_balancing_loss_func: E sum_e (K f_e) P_e, f and P over all layers
///                    together, so K / layers (the same at balance; elsewhere as near as layers are
///                    alike); z_loss (Switch): mean over layers, so 1 / layers
///   flaxformer       _load_balancing_loss (t5x takes the mean over layers): E sum_e (K f_e) P_e,
///                    so K / layers; z_loss: 1 / layers
///   megatron         switch_load_balancing_loss_func: E sum_e f_e P_e, so 1; seq_aux_loss is our
///                    "sequence"; z_loss_func: 1
///   deepspeed        top1gating, topkgating (K > 2): E sum_e f_e P_e, so 1; top2gating counts the
///                    first choice only (counts = "first")
///   tutel            gshard_loss: first choices, so 1; of load_importance_loss the half that is
///                    importance, with the sample variance: E / (E - 1) / 2 (its load compares
///                    probabilities with a threshold of logits, which no term here does)
///   mesh_tensorflow  _top_2_gating: first choices, so 1; router z-loss: 1
///   gshard           the paper's l_aux = 1/E sum_e f_e P_e of first choices, so 1 / E^2
///
/// f_e is the share of all choices here. Throws ConfigError, naming the remedy, for a term that the
/// program does not have or has in another form.
double coefficient_from(const std::string& convention, const ForeignTerm& term);

}  // namespace moe::balance
