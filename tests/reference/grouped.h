#pragma once
// What the grouped operations must compute, in float64 with plain loops.
// S source rows, R rows, E experts, D in, F hidden, H = F or 2F, O out.

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <moe/ops/grouped.h>

namespace moe::test::reference {

using at::Tensor;
using Row = std::vector<double>;

inline double activation(double x, ops::Activation kind) {
  const double cubic = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  switch (kind) {
    case ops::Activation::kRelu:
      return x > 0 ? x : 0;
    case ops::Activation::kReluSquared:
      return x > 0 ? x * x : 0;
    case ops::Activation::kGelu:
      return x * (1 + std::erf(x / std::numbers::sqrt2)) / 2;
    case ops::Activation::kGeluTanh:
      return x * (1 + std::tanh(cubic)) / 2;
    case ops::Activation::kSilu:
      return x / (1 + std::exp(-x));
  }
  return std::numeric_limits<double>::quiet_NaN();
}

/// One row of a matrix.
inline Row row_of(const Tensor& values_RD, int64_t r) {
  const Tensor wide_D = values_RD[r].detach().to(at::kDouble).contiguous();
  return {wide_D.const_data_ptr<double>(), wide_D.const_data_ptr<double>() + wide_D.numel()};
}

/// W[e] x + b[e]; an undefined b is zero.
inline Row affine(const Tensor& w_EOD, const Tensor& b_EO, int64_t e, const Row& x_D) {
  Row out_O;
  for (int64_t o = 0; o < w_EOD.size(1); ++o) {
    const Row w_D = row_of(w_EOD[e], o);
    double sum = b_EO.defined() ? b_EO[e][o].item<double>() : 0;
    for (size_t d = 0; d < x_D.size(); ++d) sum += w_D[d] * x_D[d];
    out_O.push_back(sum);
  }
  return out_O;
}

/// The parameters of grouped_mlp.
struct Mlp {
  Tensor w_in, b_in, w_out, b_out;
  ops::Activation act = ops::Activation::kSilu;
  bool gated = false;

  /// What expert e makes of one row; an empty keep keeps everything.
  Row operator()(int64_t e, const Row& x_D, const Row& keep_F = {}) const {
    const Row pre_H = affine(w_in, b_in, e, x_D);
    const auto F = static_cast<size_t>(w_out.size(2));
    Row h_F;
    for (size_t f = 0; f < F; ++f) {
      const double up = gated ? pre_H[F + f] : 1, keep = keep_F.empty() ? 1 : keep_F[f];
      h_F.push_back(activation(pre_H[f], act) * up * keep);
    }
    return affine(w_out, b_out, e, h_F);
  }
};

/// (R, O) float64: function(e, x_D, r) on every row of an expert; zeros where a row has none.
template <class Function>
Tensor rows(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E, int64_t width,
            const Function& function) {
  const int64_t R = index_R.defined() ? index_R.size(0) : source_SD.size(0);
  Tensor out_RO = at::full({R, width}, 0.0, at::kDouble);
  for (int64_t e = 0; e + 1 < offsets_E.size(0); ++e)
    for (int64_t r = offsets_E[e].item<int64_t>(); r < offsets_E[e + 1].item<int64_t>(); ++r) {
      const int64_t s = index_R.defined() ? index_R[r].item<int64_t>() : r;
      const Row out_O = function(e, row_of(source_SD, s), r);
      for (int64_t o = 0; o < width; ++o)
        out_RO.mutable_data_ptr<double>()[r * width + o] = out_O[static_cast<size_t>(o)];
    }
  return out_RO;
}

}  // namespace moe::test::reference
