// T rows, D width, B blocks of rows.
#include <array>
#include <cmath>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/norm.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows whose contributions to the scale's gradient are added up together: fixed, so that threads
/// change nothing.
constexpr int64_t kBlock = 64;

/// term(0) + .. + term(D - 1) in lanes of which registers hold some: one number after the other
/// would wait for each addition.
template <class Scalar, class Term>
Scalar sum_of(int64_t D, const Term& term) {
  constexpr int64_t kLanes = 16;
  std::array<Scalar, kLanes> lanes = {};
  int64_t d = 0;
  for (; d + kLanes <= D; d += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane)
      lanes[static_cast<size_t>(lane)] += term(d + lane);
  for (size_t lane = 0; lane < lanes.size() && d < D; ++d, ++lane) lanes[lane] += term(d);
  for (size_t width = kLanes / 2; width > 0; width /= 2)
    for (size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

template <class Scalar>
void forward_rows(const Tensor& x_TD, const Tensor& scale_D, double epsilon, Tensor& y_TD,
                  Tensor& inverse_T) {
  const int64_t T = x_TD.size(0), D = x_TD.size(1);
  const Scalar *x = x_TD.const_data_ptr<Scalar>(), *scale = scale_D.const_data_ptr<Scalar>();
  Scalar *y = y_TD.mutable_data_ptr<Scalar>(), *inverse = inverse_T.mutable_data_ptr<Scalar>();
  at::parallel_for(0, T, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Scalar* row = x + t * D;
      const Scalar squares = sum_of<Scalar>(D, [&](int64_t d) { return row[d] * row[d]; });
      inverse[t] = 1 / std::sqrt(squares / static_cast<Scalar>(D) + static_cast<Scalar>(epsilon));
      for (int64_t d = 0; d < D; ++d) y[t * D + d] = row[d] * inverse[t] * scale[d];
    }
  });
}

/// dx = r (g dy - xhat mean(g dy xhat)) and dg = sum_t dy xhat, with xhat = x r.
template <class Scalar>
void backward_rows(const Tensor& dy_TD, const Tensor& x_TD, const Tensor& scale_D,
                   const Tensor& inverse_T, Tensor& dx_TD, Tensor& dscale_BD) {
  const int64_t T = x_TD.size(0), D = x_TD.size(1);
  const Scalar *dy = dy_TD.const_data_ptr<Scalar>(), *x = x_TD.const_data_ptr<Scalar>();
  const Scalar *scale = scale_D.const_data_ptr<Scalar>(),
               *inverse = inverse_T.const_data_ptr<Scalar>();
  Scalar *dx = dx_TD.mutable_data_ptr<Scalar>(), *dscale = dscale_BD.mutable_data_ptr<Scalar>();
  at::parallel_for(0, dscale_BD.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Scalar* sums = dscale + b * D;
      for (int64_t t = b * kBlock; t < std::min(T, (b + 1) * kBlock); ++t) {
        const Scalar *row = x + t * D, *gradient = dy + t * D;
        const Scalar r = inverse[t];
        const Scalar along =
            sum_of<Scalar>(D, [&](int64_t d) { return gradient[d] * scale[d] * (row[d] * r); }) /
            static_cast<Scalar>(D);
        Scalar* const out = dx + t * D;
        for (int64_t d = 0; d < D; ++d) {
          const Scalar unit = row[d] * r;
          sums[d] += gradient[d] * unit;
          out[d] = r * (gradient[d] * scale[d] - unit * along);
        }
      }
    }
  });
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_TD, const Tensor& scale_D,
                        double epsilon) {
    Tensor y_TD = at::empty_like(x_TD), inverse_T = at::empty({x_TD.size(0)}, x_TD.options());
    if (x_TD.is_cpu()) {
      AT_DISPATCH_FLOATING_TYPES(x_TD.scalar_type(), "rms_norm", [&] {
        forward_rows<scalar_t>(x_TD, scale_D, epsilon, y_TD, inverse_T);
      });
    } else {
      inverse_T = at::rsqrt(x_TD.square().mean(1) + epsilon);
      y_TD = x_TD * inverse_T.unsqueeze(1) * scale_D;
    }
    ctx->save_for_backward({x_TD, scale_D, inverse_T});
    return y_TD;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x_TD = saved[0], &scale_D = saved[1], &inverse_T = saved[2];
    const Tensor dy_TD = gradients[0].contiguous();
    if (!x_TD.is_cpu()) {
      const Tensor unit_TD = x_TD * inverse_T.unsqueeze(1), dunit_TD = dy_TD * scale_D;
      const Tensor along_T1 = (dunit_TD * unit_TD).mean(1, /*keepdim=*/true);
      return {(dunit_TD - unit_TD * along_T1) * inverse_T.unsqueeze(1), (dy_TD * unit_TD).sum(0),
              Tensor()};
    }
    const int64_t T = x_TD.size(0), D = x_TD.size(1);
    Tensor dx_TD = at::empty_like(x_TD),
           dscale_BD = at::zeros({(T + kBlock - 1) / kBlock, D}, x_TD.options());
    AT_DISPATCH_FLOATING_TYPES(x_TD.scalar_type(), "rms_norm_backward", [&] {
      backward_rows<scalar_t>(dy_TD, x_TD, scale_D, inverse_T, dx_TD, dscale_BD);
    });
    return {dx_TD, dscale_BD.sum(0), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& scale_D, double epsilon) {
  const int64_t D = scale_D.size(0);
  check(x.dim() >= 1 && x.size(-1) == D, "ops/rms_norm", "expected x of shape (..., D=", D,
        "), got ", x.sizes(), ". Check the model width.");
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return RmsNorm::apply(x.to(type).reshape({-1, D}).contiguous(), scale_D.to(type).contiguous(),
                        epsilon)
      .view(x.sizes());
}

}  // namespace moe::ops
