// B batch, S sequence, H heads, P head width.
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/rope.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// (S, P/2) cosines and sines, computed in float64.
std::pair<Tensor, Tensor> angles(int64_t length, int64_t width, int64_t first, double theta,
                                 const at::TensorOptions& options) {
  const auto wide = options.dtype(at::kDouble);
  const Tensor frequency_P =
      at::pow(theta, at::arange(0, width, 2, wide) * (-1.0 / static_cast<double>(width)));
  const Tensor angle_SP = at::outer(at::arange(first, first + length, wide), frequency_P);
  const auto type = options.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  return {angle_SP.cos().to(type), angle_SP.sin().to(type)};
}

/// Angles of row s of the tables, or of row position_BS[b, s] where it is defined. `sign` -1 turns
/// back.
Tensor rotate(const Tensor& x_BSHP, const Tensor& cos_SP, const Tensor& sin_SP,
              const Tensor& position_BS, int sign) {
  const int64_t S = x_BSHP.size(1), H = x_BSHP.size(2), P = x_BSHP.size(3), half = P / 2;
  if (!x_BSHP.is_cpu()) {
    const Tensor low = x_BSHP.narrow(3, 0, half), high = x_BSHP.narrow(3, half, half);
    const auto of_tokens = [&](const Tensor& table_SP) {
      if (!position_BS.defined()) return table_SP.unsqueeze(1);
      return table_SP.index_select(0, position_BS.flatten()).view({-1, S, 1, half});
    };
    const Tensor c = of_tokens(cos_SP), s = of_tokens(sin_SP) * sign;
    return at::cat({low * c - high * s, high * c + low * s}, 3).to(x_BSHP.scalar_type());
  }
  const Tensor source = x_BSHP.contiguous();
  Tensor out_BSHP = at::empty_like(source);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, source.scalar_type(), "rope", [&] {
    using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
    const scalar_t* x = source.const_data_ptr<scalar_t>();
    scalar_t* out = out_BSHP.mutable_data_ptr<scalar_t>();
    const Wide *cos = cos_SP.const_data_ptr<Wide>(), *sin = sin_SP.const_data_ptr<Wide>();
    const int64_t* position =
        position_BS.defined() ? position_BS.const_data_ptr<int64_t>() : nullptr;
    at::parallel_for(0, source.size(0) * S * H, std::max<int64_t>(1, 16384 / (P + 1)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t row = begin; row < end; ++row) {
                         const int64_t s = position ? position[row / H] : row / H % S;
                         for (int64_t i = 0; i < half; ++i) {
                           const Wide low = x[row * P + i], high = x[row * P + half + i];
                           const Wide c = cos[s * half + i],
                                      n = sin[s * half + i] * static_cast<Wide>(sign);
                           out[row * P + i] = static_cast<scalar_t>(low * c - high * n);
                           out[row * P + half + i] = static_cast<scalar_t>(high * c + low * n);
                         }
                       }
                     });
  });
  return out_BSHP;
}

struct Rope : torch::autograd::Function<Rope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_BSHP, const Tensor& cos_SP,
                        const Tensor& sin_SP, const std::optional<Tensor>& position) {
    const Tensor position_BS = position.value_or(Tensor());
    ctx->save_for_backward({cos_SP, sin_SP, position_BS});
    return rotate(x_BSHP, cos_SP, sin_SP, position_BS, +1);
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(gradients[0], saved[0], saved[1], saved[2], -1), Tensor(), Tensor(), Tensor()};
  }
};

void check_shape(const Tensor& x_BSHP) {
  check(x_BSHP.dim() == 4 && x_BSHP.size(3) % 2 == 0, "ops/rope",
        "expected x (B, S, H, P) of even P, got ", x_BSHP.sizes(), ". Choose an even head width.");
}

}  // namespace

Tensor rope(const Tensor& x_BSHP, int64_t first, double theta) {
  check_shape(x_BSHP);
  const auto [cos_SP, sin_SP] =
      angles(x_BSHP.size(1), x_BSHP.size(3), first, theta, x_BSHP.options());
  return Rope::apply(x_BSHP, cos_SP, sin_SP, std::optional<Tensor>());
}

Tensor rope(const Tensor& x_BSHP, const Tensor& position_BS, double theta) {
  check_shape(x_BSHP);
  const int64_t S = x_BSHP.size(1);
  check(position_BS.sizes() == x_BSHP.sizes().slice(0, 2) && position_BS.scalar_type() == at::kLong,
        "ops/rope", "expected int64 positions of shape ", x_BSHP.sizes().slice(0, 2), ", got ",
        position_BS.scalar_type(), ' ', position_BS.sizes(), ". Give every token one.");
  if (position_BS.numel() > 0) {
    const auto low = position_BS.min().item<int64_t>(), high = position_BS.max().item<int64_t>();
    check(low >= 0 && high < S, "ops/rope", "expected positions in [0, ", S, "), got ",
          low < 0 ? low : high, ". Count from each document's beginning.");
  }
  const auto [cos_SP, sin_SP] = angles(S, x_BSHP.size(3), 0, theta, x_BSHP.options());
  return Rope::apply(x_BSHP, cos_SP, sin_SP, std::optional(position_BS.contiguous()));
}

}  // namespace moe::ops
