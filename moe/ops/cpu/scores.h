#pragma once
// The CPU loops of ops/scores.h in float32, on plain pointers; all contiguous. T tokens, E experts,
// G groups.

#include <moe/ops/cpu/choice_kernels.h>

namespace moe::ops::cpu {

struct ScoreRows {
  int64_t T, E, G;
  const float* scores_TE;
  /// Group g is the tokens groups_G1[g] .. groups_G1[g + 1].
  const int64_t* groups_G1;
  bool normalise;
};

void probability_sums(const ChoiceKernels& kernels, const ScoreRows& rows, double* sums_GE);
/// dL/dscores from dL/dsums.
void probability_sums_backward(const ChoiceKernels& kernels, const ScoreRows& rows,
                               const double* dsums_GE, float* dscores_TE);

void log_sum_exp(const ChoiceKernels& kernels, int64_t T, int64_t E, const float* logits_TE,
                 float* lse_T);
/// dL/dlogits = dL/dlse e^(l - lse).
void log_sum_exp_backward(const ChoiceKernels& kernels, int64_t T, int64_t E,
                          const float* logits_TE, const float* lse_T, const float* dlse_T,
                          float* dlogits_TE);

}  // namespace moe::ops::cpu
