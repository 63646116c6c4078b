#pragma once
// The CPU loops of ops/choice.h in float32, on plain pointers; all contiguous but where a stride is
// given. T tokens, D width, E experts, K choices.

#include <moe/ops/choice.h>
#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// Row t at data + t * stride; null means zeros.
struct GradientRows {
  const float* data = nullptr;
  int64_t stride = 0;

  const float* row(int64_t t) const { return data ? data + t * stride : nullptr; }
};

/// What choose() computes: the scores, the chosen and their weights before and after the scale
/// (which may be one place).
struct ChoiceRows {
  int64_t T, E;
  const float *logits_TE, *selection_bias_E;
  float* scores_TE;
  int64_t* experts_TK;
  float *shares_TK, *weights_TK;
};

void choose_rows(const ChoiceKernels& kernels, const ChoiceRule& rule, const ChoiceRows& rows);

/// What its gradient starts from.
struct ChosenRows {
  int64_t T, E;
  const float* scores_TE;
  const int64_t* experts_TK;
  const float* shares_TK;
  /// Null: zeros.
  const float* dweights_TK;
};

/// Whether the weights are a softmax over the chosen logits.
bool is_softmax_of_chosen(const ChoiceRule& rule);
/// Whether the weights depend on the chosen logits alone.
bool is_local(const ChoiceRule& rule);
/// dL/dl of each chosen logit for a rule that is local, through the weights alone.
void chosen_gradient(const ChoiceRule& rule, const ChosenRows& rows, float* dchosen_TK);
/// dL/dl of all logits; `more` is a gradient that reaches them directly.
void logits_gradient(const ChoiceKernels& kernels, const ChoiceRule& rule, const ChosenRows& rows,
                     GradientRows dscores, GradientRows more, float* dlogits_TE);

/// l = x w^T + b; b null: none.
void router_logits(const Kernels& kernels, int64_t T, int64_t D, int64_t E, const float* x_TD,
                   const float* w_ED, const float* b_E, float* logits_TE);
/// Gradients of x and w from the K numbers a token that chosen_gradient gives; db_E null: none.
void chosen_rows_backward(const ChoiceKernels& kernels, int64_t T, int64_t D, int64_t E, int64_t K,
                          const float* x_TD, const float* w_ED, const int64_t* experts_TK,
                          const float* dchosen_TK, float* dx_TD, float* dw_ED, float* db_E);

}  // namespace moe::ops::cpu
