#pragma once
// The loops of a router over one row of E logits, and over rows with weights; one table an
// instruction set (kernels.h). No libtorch here.

#include <cstdint>

namespace moe::ops::cpu {

struct ChoiceKernels {
  /// p = softmax(l). 0 at -inf (and 87 below the largest); a NaN, an inf or nothing but -inf makes
  /// all of the row NaN. p may be l.
  void (*softmax)(int64_t n, const float* l, float* p);
  /// s = 1 / (1 + e^-l).
  void (*sigmoid)(int64_t n, const float* l, float* s);
  /// The ids of the k largest, the largest first, ties to the lowest id, NaN behind everything. k
  /// in [1, n].
  void (*largest)(int64_t n, const float* values, int64_t k, int64_t* ids);
  /// ln sum e^l; as libtorch's at infinities and NaN.
  float (*log_sum_exp)(int64_t n, const float* l);
  /// sum a b.
  float (*dot)(int64_t n, const float* a, const float* b);
  float (*sum)(int64_t n, const float* a);
  /// dl = factor p (dp - mean) + more; null dp and more are zeros.
  void (*softmax_backward)(int64_t n, const float* p, const float* dp, float mean, float factor,
                           const float* more, float* dl);
  /// dl = ds s (1 - s) + more; null ds and more are zeros.
  void (*sigmoid_backward)(int64_t n, const float* s, const float* ds, const float* more,
                           float* dl);
  /// dl = factor e^(l - lse).
  void (*exponential)(int64_t n, const float* l, float lse, float factor, float* dl);
  /// sums += factor a, in double precision.
  void (*add_to)(int64_t n, const float* a, double factor, double* sums);
  /// out = sum over j < count, in order, of weights[j] times row index[j] of rows (n wide).
  void (*weighted_sum)(int64_t n, int64_t count, const float* rows, const int64_t* index,
                       const float* weights, float* out);
};

}  // namespace moe::ops::cpu
