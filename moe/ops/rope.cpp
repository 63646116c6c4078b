// T tokens, H heads, P head width, R rows of a table, W numbers of a head that turn.
#include <cmath>
#include <functional>
#include <optional>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/rope.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// On any device, by libtorch's operators. `sign` -1 turns back.
Tensor rotate_by_operators(const Tensor& x_THP, const RopeTable& table, int sign) {
  const int64_t T = x_THP.size(0), half = table.cos.size(1);
  const auto of_tokens = [&](const Tensor& angles) {
    if (table.row_T.defined()) return angles.index_select(0, table.row_T).unsqueeze(1);
    return angles.repeat({T / std::max<int64_t>(1, angles.size(0)), 1}).unsqueeze(1);
  };
  const Tensor c = of_tokens(table.cos), s = of_tokens(table.sin) * sign;
  const auto part = [&](const Tensor& x, int64_t number) {
    return table.interleaved ? x.narrow(2, 0, 2 * half).slice(2, number, std::nullopt, 2)
                             : x.narrow(2, number * half, half);
  };
  const Tensor a = part(x_THP, 0), b = part(x_THP, 1);
  Tensor out_THP = x_THP.clone();
  part(out_THP, 0).copy_(a * c - b * s);
  part(out_THP, 1).copy_(b * c + a * s);
  return out_THP;
}

template <class Scalar, class Wide>
void rotate_head(const Scalar* x, Scalar* out, const Wide* cos, const Wide* sin, Wide sign,
                 int64_t half, bool interleaved) {
  if (interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const Wide a = x[2 * i], b = x[2 * i + 1], s = sin[i] * sign;
      out[2 * i] = static_cast<Scalar>(a * cos[i] - b * s);
      out[2 * i + 1] = static_cast<Scalar>(b * cos[i] + a * s);
    }
    return;
  }
  for (int64_t i = 0; i < half; ++i) {
    const Wide a = x[i], b = x[half + i], s = sin[i] * sign;
    out[i] = static_cast<Scalar>(a * cos[i] - b * s);
    out[half + i] = static_cast<Scalar>(b * cos[i] + a * s);
  }
}

Tensor rotate(const Tensor& x_THP, const RopeTable& table, int sign) {
  if (!x_THP.is_cpu()) return rotate_by_operators(x_THP, table, sign);
  const int64_t T = x_THP.size(0), H = x_THP.size(1), P = x_THP.size(2);
  const int64_t R = table.cos.size(0), half = table.cos.size(1);
  const Tensor source = x_THP.contiguous();
  Tensor out_THP = at::empty_like(source);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, source.scalar_type(), "rope", [&] {
    using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
    const scalar_t* x = source.const_data_ptr<scalar_t>();
    scalar_t* out = out_THP.mutable_data_ptr<scalar_t>();
    const Wide *cos = table.cos.const_data_ptr<Wide>(), *sin = table.sin.const_data_ptr<Wide>();
    const int64_t* row_T = table.row_T.defined() ? table.row_T.const_data_ptr<int64_t>() : nullptr;
    at::parallel_for(
        0, T * H, std::max<int64_t>(1, 16384 / (P + 1)), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t row = row_T ? row_T[i / H] : i / H % R;
            rotate_head<scalar_t, Wide>(x + i * P, out + i * P, cos + row * half, sin + row * half,
                                        static_cast<Wide>(sign), half, table.interleaved);
            std::copy(x + i * P + 2 * half, x + (i + 1) * P, out + i * P + 2 * half);
          }
        });
  });
  return out_THP;
}

struct Rope : torch::autograd::Function<Rope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_THP, const Tensor& cos,
                        const Tensor& sin, const std::optional<Tensor>& row_T, bool interleaved) {
    const RopeTable table = {cos, sin, row_T.value_or(Tensor()), interleaved};
    ctx->save_for_backward({table.cos, table.sin, table.row_T});
    ctx->saved_data["interleaved"] = interleaved;
    return rotate(x_THP, table, +1);
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const RopeTable table = {saved[0], saved[1], saved[2], ctx->saved_data["interleaved"].toBool()};
    return {rotate(gradients[0], table, -1), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

void check_rows(const Tensor& x_THP, const RopeTable& table) {
  const int64_t T = x_THP.size(0), R = table.cos.size(0);
  if (!table.row_T.defined()) {
    check(R > 0 ? T % R == 0 : T == 0, "ops/rope", "expected a multiple of the table's ", R,
          " rows, got ", T, " tokens. Say each token's row.");
    return;
  }
  check(
      table.row_T.dim() == 1 && table.row_T.size(0) == T && table.row_T.scalar_type() == at::kLong,
      "ops/rope", "expected int64 rows of shape (T=", T, "), got ", table.row_T.scalar_type(), ' ',
      table.row_T.sizes(), ". Give every token one.");
  if (T == 0 || !x_THP.is_cpu()) return;  // elsewhere the device's own check
  const auto low = table.row_T.min().item<int64_t>(), high = table.row_T.max().item<int64_t>();
  check(low >= 0 && high < R, "ops/rope", "expected rows in [0, ", R, "), got ",
        low < 0 ? low : high, ". Make the table as long as the longest sequence.");
}

}  // namespace

namespace {

RopeTable table_of_angles(const Tensor& position_R, const Tensor& row_T, const Tensor& frequency,
                          bool interleaved, const at::TensorOptions& like,
                          const std::function<Tensor(const Tensor&)>& amplified) {
  check(frequency.size(-1) > 0, "ops/rope", "expected an even number of a head's numbers to turn, ",
        "got none. Choose an even head width, or no rotary positions.");
  const auto wide = like.dtype(at::kDouble).requires_grad(false);
  const Tensor angle = position_R.to(wide).unsqueeze(1) * frequency.to(wide);
  const auto type = like.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  return {amplified(angle.cos()).to(type), amplified(angle.sin()).to(type),
          row_T.defined() ? row_T.contiguous() : row_T, interleaved};
}

}  // namespace

RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, const Tensor& frequency,
                     bool interleaved, const at::TensorOptions& like, const at::Scalar& amplitude) {
  const bool plain = amplitude.toDouble() == 1;
  return table_of_angles(position_R, row_T, frequency, interleaved, like,
                         [&](const Tensor& x) { return plain ? x : x * amplitude; });
}

RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, const Tensor& frequency,
                     bool interleaved, const at::TensorOptions& like, const Tensor& amplitude) {
  return table_of_angles(position_R, row_T, frequency, interleaved, like,
                         [&](const Tensor& x) { return x * amplitude; });
}

RopeTable rope_table(const Tensor& position_R, const Tensor& row_T, int64_t width, double theta,
                     bool interleaved, const at::TensorOptions& like) {
  check(width > 0 && width % 2 == 0, "ops/rope", "expected an even width, got ", width,
        ". Choose an even head width.");
  const auto wide = like.dtype(at::kDouble).requires_grad(false);
  return rope_table(
      position_R, row_T,
      at::pow(theta, at::arange(0, width, 2, wide) * (-1.0 / static_cast<double>(width))),
      interleaved, like);
}

Tensor rope(const Tensor& x_THP, const RopeTable& table) {
  check(x_THP.dim() == 3 && x_THP.size(2) >= 2 * table.cos.size(1), "ops/rope",
        "expected x (T, H, P) of P at least ", 2 * table.cos.size(1), ", got ", x_THP.sizes(),
        ". Check the head width.");
  check_rows(x_THP, table);
  return Rope::apply(x_THP, table.cos, table.sin,
                     table.row_T.defined() ? std::optional(table.row_T) : std::nullopt,
                     table.interleaved);
}

}  // namespace moe::ops
