#pragma once
// The CPU loops of ops/grouped.h on plain pointers: all experts' products in a few parallel passes.
// R rows, E experts, D in, F hidden, H = F or 2F, O out.
//
// Rows offsets_E[e] .. offsets_E[e+1] belong to expert e. All tensors are contiguous, of the type
// T; sums are float32. Nothing beyond the last offset is read or written.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// Which rows are whose.
struct Experts {
  int64_t count;
  const int64_t* offsets_E;

  int64_t begin(int64_t e) const { return offsets_E[e]; }
  int64_t rows(int64_t e) const { return offsets_E[e + 1] - offsets_E[e]; }
};

/// w_in (E, H, D), b_in (E, H) or null, w_out (E, O, F), b_out (E, O) or null.
template <class T>
struct MlpWeights {
  const T *w_in, *b_in, *w_out, *b_out;
  int64_t D, F, O;
  bool gated;
  Activation activation;

  int64_t H() const { return gated ? 2 * F : F; }
};

/// out[r] = w_out h[r] + b_out, h[r] = act(w_in x[r] + b_in) [* up] * keep[r]; pre (R, H) gets the
/// pre-activations unless it is null. With out null the pre-activations are all that is computed.
template <class T>
void mlp_forward(const ProductKernels<T>& kernels, const Experts& experts,
                 const MlpWeights<T>& weights, RowsOf<T> x, const T* keep_RF, T* pre_RH, T* out_RO);

/// dL/dout[r] = weight_R[r] * rows.row(r), where out[r] counts weight_R[r] times in what rows are
/// the gradients of.
template <class T>
struct OutputGradients {
  RowsOf<T> rows;
  const float* weight_R = nullptr;  ///< null: 1
  float* dweight_R = nullptr;       ///< gets out[r] . rows.row(r) unless null
};

/// Where the gradient of a weight goes: rounded to T, or as the float32 sums that it is (the same
/// for float), or nowhere (both null).
template <class T>
struct WeightGradient {
  T* rounded = nullptr;
  float* sums = nullptr;
};

/// Gradients from dL/dout; those that are null are not computed. drow (R, D) is of the rows, not of
/// their sources. Parameters of experts without rows get zeros.
template <class T>
struct MlpGradients {
  T* drow_RD;
  WeightGradient<T> dw_in;
  T* db_in;
  WeightGradient<T> dw_out;
  T* db_out;
};

/// `pre` (R, H) are the pre-activations before and their gradients after. `sum_kernels`, of the same
/// set, store what goes to WeightGradient::sums.
template <class T>
void mlp_backward(const ProductKernels<T>& kernels, const ProductKernels<float>& sum_kernels,
                  const Experts& experts, const MlpWeights<T>& weights, RowsOf<T> x, const T* keep_RF, T* pre_RH,
                  const OutputGradients<T>& dout, const MlpGradients<T>& gradients);

/// out[r] = w x[r] + b; w (E, O, D), b (E, O) or null.
template <class T>
void linear_forward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                    const T* b_EO, int64_t D, int64_t O, RowsOf<T> x, T* out_RO);

template <class T>
struct LinearGradients {
  T *drow_RD, *dw_EOD, *db_EO;
};

template <class T>
void linear_backward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                     int64_t D, int64_t O, RowsOf<T> x, const T* dout_RO,
                     const LinearGradients<T>& gradients);

}  // namespace moe::ops::cpu
