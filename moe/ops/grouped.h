#pragma once
// S source rows, R rows, E experts, D in, F hidden, O out.
//
// Row r of the input is source_SD[index_R[r]] (index undefined: the identity); rows offsets_E[e] ..
// offsets_E[e+1] belong to expert e, those behind the last offset to none: their output is
// undefined and nothing flows back from them. Any number of rows an expert, none too. Results have
// the dtype of the source. Weights wider than that are rounded to it; narrower ones are read as
// they are and widened (by the kernels of the CPU in registers).

#include <string>

#include <ATen/core/Tensor.h>

#include <moe/ops/activation.h>
#include <moe/ops/expert_table.h>
#include <moe/ops/rows.h>

namespace moe::ops {

/// "relu", "relu_squared" (So et al. 2021), "gelu" (exact), "gelu_tanh", "silu". Throws ConfigError
/// naming `place` for anything else.
Activation parse_activation(const std::string& name, const std::string& place);
/// act(x), differentiable by libtorch.
Tensor activate(const Tensor& x, Activation activation);

/// out[r] = W[e(r)] x[r] + b[e(r)]; w_EOD (E, O, D), b_EO (E, O) or undefined; (R, O).
Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const ExpertTable& w_EOD, const Tensor& b_EO);

/// Feed-forward experts. Plain: w_out h + b_out with h = act(w_in x + b_in). Gated: h = act(g) * u
/// with [g; u] = w_in x + b_in.
struct MlpParameters {
  /// w_in (E, H, D), with H = F, or 2F when gated: gate rows, then up rows; b_in (E, H) or
  /// undefined; w_out (E, O, F); b_out (E, O) or undefined. Gradients have the type of the
  /// parameters: in float32 they are the float32 sums of the products, whatever these run in.
  ExpertTable w_in;
  Tensor b_in;
  ExpertTable w_out;
  Tensor b_out;
  Activation activation;
  bool gated = false;
  /// Keep no pre-activations for the backward pass, which computes them again.
  bool recompute = false;
};

/// out[r] = w_out[e] (h[r] * keep[r]) + b_out[e]; (R, O). keep_RF (R, F) or undefined multiplies
/// the hidden units (dropout). Saves the input and the pre-activations only, or just the input.
Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const MlpParameters& mlp, const Tensor& keep_RF = {});

/// combine_rows(grouped_mlp(...), pairs), for which nothing more is saved, because d out[r] . dy =
/// h[r] . (w_out' dy) (Guo et al. 2025, SonicMoE); (T, O) float32 or float64. Every row of an
/// expert must belong to one pair.
Tensor grouped_mlp_combined(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                            const MlpParameters& mlp, const Tensor& keep_RF,
                            const Combination& pairs);

/// LayerNorm over the width with a scale and a shift of each expert: out[r] = (x - mean) / sqrt(var
/// + epsilon) * scale[e(r)] + shift[e(r)] with x = rows_RF[r] and the population variance (Ba et
/// al. 2016).
///
/// rows_RF (R, F), scale_EF and shift_EF (E, F). Computes in float32 (float64 for float64) and
/// returns the dtype of the rows.
Tensor grouped_layer_norm(const Tensor& rows_RF, const Tensor& offsets_E, const Tensor& scale_EF,
                          const Tensor& shift_EF, double epsilon);

}  // namespace moe::ops
