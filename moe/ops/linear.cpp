// I inputs, O outputs, R rows.
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/linear.h>

namespace moe::ops {

namespace {

/// By the type alone: a row's bits do not depend on how many there are.
bool kernels_take(const Tensor& x) {
  const auto type = x.scalar_type();
  if (!x.is_cpu() || (type != at::kFloat && type != at::kBFloat16)) return false;
  const auto products =
      type == at::kFloat ? cpu::ProductType::kFloat32 : cpu::ProductType::kBFloat16;
  return cpu::instruction_set(products) != cpu::InstructionSet::kLibtorch;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w_OI, const Tensor& b_O) {
  check(x.dim() >= 1 && w_OI.dim() == 2 && x.size(-1) == w_OI.size(1) &&
            (!b_O.defined() || b_O.sizes() == w_OI.sizes().slice(0, 1)),
        "ops/linear", "expected x (..., I), w (O, I) and b (O), got ", x.sizes(), ", ",
        w_OI.sizes(), " and ", b_O.defined() ? b_O.sizes() : at::IntArrayRef(),
        ". Check the widths.");
  const auto type = x.scalar_type();
  const bool one_type = w_OI.scalar_type() == type && (!b_O.defined() || b_O.scalar_type() == type);
  if (!one_type || !kernels_take(x)) return at::linear(x, w_OI, b_O);
  // One expert that takes all rows.
  const Tensor rows_RI = x.reshape({-1, w_OI.size(1)});
  const Tensor out_RO =
      cpu::grouped_matmul(rows_RI, {}, at::tensor({int64_t{0}, rows_RI.size(0)}, at::kLong),
                          w_OI.unsqueeze(0), b_O.defined() ? b_O.unsqueeze(0) : b_O);
  auto sizes = x.sizes().vec();
  sizes.back() = w_OI.size(0);
  return out_RO.view(sizes);
}

}  // namespace moe::ops
