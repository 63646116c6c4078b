#pragma once
// S source rows, R rows, E experts, D in, F hidden, O out.
//
// Row r of the input is source_SD[index_R[r]] (index undefined: the identity); rows offsets_E[e] ..
// offsets_E[e+1] belong to expert e, those behind the last offset to none: their output is
// undefined and nothing flows back from them. Any number of rows an expert, none too. All products
// run in the dtype of the source; parameters are cast to it.

#include <string>

#include <ATen/core/Tensor.h>

#include <moe/ops/activation.h>

namespace moe::ops {

using at::Tensor;

/// "relu", "relu_squared" (So et al. 2021), "gelu" (exact), "gelu_tanh", "silu". Throws ConfigError
/// naming `place` for anything else.
Activation parse_activation(const std::string& name, const std::string& place);
/// act(x), differentiable by libtorch.
Tensor activate(const Tensor& x, Activation activation);

/// out[r] = W[e(r)] x[r] + b[e(r)]; w_EOD (E, O, D), b_EO (E, O) or undefined; (R, O).
Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const Tensor& w_EOD, const Tensor& b_EO);

/// out[r] = w_out[e] (act(w_in[e] x[r] + b_in[e]) * keep[r]) + b_out[e].
///
/// w_in (E, F, D), b_in (E, F) or undefined, w_out (E, O, F), b_out (E, O) or undefined; keep_RF
/// (R, F) or undefined multiplies the hidden units (dropout). Saves the input and the
/// pre-activations only; with `recompute` not these either: the backward pass computes them again.
Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const Tensor& w_in, const Tensor& b_in, const Tensor& w_out, const Tensor& b_out,
                   const Tensor& keep_RF, Activation activation, bool recompute = false);

/// out[r] = w_out[e] (act(g) * u * keep[r]) + b_out[e] with [g; u] = w_in[e] x[r] + b_in[e].
///
/// w_in (E, 2F, D): gate rows, then up rows; b_in (E, 2F); the rest as in grouped_mlp.
Tensor grouped_gated_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                         const Tensor& w_in, const Tensor& b_in, const Tensor& w_out,
                         const Tensor& b_out, const Tensor& keep_RF, Activation activation,
                         bool recompute = false);

/// LayerNorm over the width with a scale and a shift of each expert: out[r] = (x - mean) / sqrt(var
/// + epsilon) * scale[e(r)] + shift[e(r)] with x = rows_RF[r] and the population variance (Ba et
/// al. 2016).
///
/// rows_RF (R, F), scale_EF and shift_EF (E, F). Computes in float32 (float64 for float64) and
/// returns the dtype of the rows.
Tensor grouped_layer_norm(const Tensor& rows_RF, const Tensor& offsets_E, const Tensor& scale_EF,
                          const Tensor& shift_EF, double epsilon);

}  // namespace moe::ops
