#pragma once
// The CPU loops of ops/grouped.h on plain pointers: all experts' products in a few parallel passes.
// R rows, E experts, D in, F hidden, H = F or 2F, O out.
//
// Rows offsets_E[e] .. offsets_E[e+1] belong to expert e. Activations and biases have the type T
// and are contiguous; weights are a matrix for each expert, wherever it stands and in any format,
// of which those of experts without rows are not looked at; sums are float32. Nothing beyond the
// last offset is read or written.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// Which rows are whose.
struct Experts {
  int64_t count;
  const int64_t* offsets_E;

  int64_t begin(int64_t e) const { return offsets_E[e]; }
  int64_t rows(int64_t e) const { return offsets_E[e + 1] - offsets_E[e]; }
};

/// w_in E times (H, D), b_in (E, H) or null, w_out E times (O, F), b_out (E, O) or null.
template <class T>
struct MlpWeights {
  const Matrix* w_in_E;
  const T* b_in;
  const Matrix* w_out_E;
  const T* b_out;
  int64_t D, F, O;
  bool gated;
  Activation activation;

  int64_t H() const { return gated ? 2 * F : F; }
};

/// out[r] = w_out h[r] + b_out, h[r] = act(w_in x[r] + b_in) [* up] * keep[r]; pre (R, H) gets the
/// pre-activations unless it is null. With out null the pre-activations are all that is computed.
template <class T>
void mlp_forward(const Kernels& kernels, const Experts& experts, const MlpWeights<T>& weights,
                 RowsOf<T> x, const T* keep_RF, T* pre_RH, T* out_RO);

/// dL/dout[r] = weight_R[r] * rows.row(r), where out[r] counts weight_R[r] times in what rows are
/// the gradients of.
template <class T>
struct OutputGradients {
  RowsOf<T> rows;
  const float* weight_R = nullptr;  ///< null: 1
  float* dweight_R = nullptr;       ///< gets out[r] . rows.row(r) unless null
};

/// Where the gradient of stacked weights (E, rows, columns) goes, rounded to `format`, which is
/// float32 or bfloat16; null: it is not computed.
struct WeightGradient {
  void* data = nullptr;
  NumberFormat format = NumberFormat::kFloat32;
};

/// Gradients from dL/dout; those that are null are not computed. drow (R, D) is of the rows, not of
/// their sources. Parameters of experts without rows get zeros.
template <class T>
struct MlpGradients {
  T* drow_RD;
  WeightGradient dw_in;
  T* db_in;
  WeightGradient dw_out;
  T* db_out;
};

/// `pre` (R, H) are the pre-activations before and their gradients after.
template <class T>
void mlp_backward(const Kernels& kernels, const Experts& experts, const MlpWeights<T>& weights,
                  RowsOf<T> x, const T* keep_RF, T* pre_RH, const OutputGradients<T>& dout,
                  const MlpGradients<T>& gradients);

/// w E times (O, D), b (E, O) or null.
template <class T>
struct LinearWeights {
  const Matrix* w_E;
  const T* b_EO;
  int64_t D, O;
};

/// out[r] = w x[r] + b.
template <class T>
void linear_forward(const Kernels& kernels, const Experts& experts, const LinearWeights<T>& weights,
                    RowsOf<T> x, T* out_RO);

template <class T>
struct LinearGradients {
  T* drow_RD;
  WeightGradient dw_EOD;
  T* db_EO;
};

template <class T>
void linear_backward(const Kernels& kernels, const Experts& experts,
                     const LinearWeights<T>& weights, RowsOf<T> x, const T* dout_RO,
                     const LinearGradients<T>& gradients);

}  // namespace moe::ops::cpu
