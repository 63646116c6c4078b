#pragma once
// T tokens, H heads, P head width, R rows of a table, W numbers of a head that turn.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// Angles of rotary positions: angle[r][i] = position_R[r] · frequency[i].
struct RopeTable {
  /// (R, W/2) of float32 (float64 for float64), computed in float64.
  Tensor cos, sin;
  /// (T,) int64: the row of each token; undefined: token t has row t mod R.
  Tensor row_T;
  /// The numbers 2i and 2i + 1 turn together (GPT-J), instead of i and i + W/2 (Llama, NeoX).
  bool interleaved = false;
};

/// A table for heads of type and device `like`, of which as many pairs turn as there are
/// frequencies: (W/2), or (R, W/2) of each row, float64. Cosines and sines are multiplied by
/// `amplitude`, a number or (R, 1) float64.
RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, const Tensor& frequency,
                     bool interleaved, const at::TensorOptions& like,
                     const at::Scalar& amplitude = 1);
RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, const Tensor& frequency,
                     bool interleaved, const at::TensorOptions& like, const Tensor& amplitude);
/// The same with the frequencies theta^(-2i/W) of the first `width` numbers.
RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, int64_t width, double theta,
                     bool interleaved, const at::TensorOptions& like);

/// Rotary position embedding (Su et al. 2021): each pair (a, b) of numbers of a head becomes
/// (a cos - b sin, b cos + a sin). x_THP (T, H, P); what is beyond the table's width stays as it
/// is. The gradient is the inverse rotation.
Tensor rope(const Tensor& x_THP, const RopeTable& table);

}  // namespace moe::ops
