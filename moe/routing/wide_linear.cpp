// T tokens, D model width, I inputs, O outputs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/where.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <moe/ops/linear.h>
#include <moe/routing/wide_linear.h>

namespace moe::routing {

void check_input(const Tensor& x_TD, const RouterShape& shape) {
  check(x_TD.dim() == 2 && x_TD.size(1) == shape.d_model && at::isFloatingType(x_TD.scalar_type()),
        "routing", "expected a floating input of shape (T, d_model=", shape.d_model, "), got ",
        x_TD.scalar_type(), ' ', x_TD.sizes(),
        ". Flatten batch and sequence, and give the router the layer's width.");
}

at::ScalarType wide_type(const Tensor& x, const Tensor& parameter) {
  const bool wide = x.scalar_type() == at::kDouble || parameter.scalar_type() == at::kDouble;
  return wide ? at::kDouble : at::kFloat;
}

Tensor wide_linear(const Tensor& x_TI, const Tensor& w_OI, const Tensor& b_O) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = wide_type(x_TI, w_OI);
  return ops::linear(x_TI.to(type), w_OI.to(type), b_O.defined() ? b_O.to(type) : b_O);
}

Tensor unit_rows(const Tensor& rows_RI) {
  const Tensor largest_R1 = at::amax(rows_RI.detach().abs(), {1}, /*keepdim=*/true);
  const Tensor near_one_RI = rows_RI / at::where(largest_R1.gt(0), largest_R1, 1.0);
  const Tensor length_R1 = at::linalg_vector_norm(near_one_RI, 2, {1}, /*keepdim=*/true);
  return near_one_RI / length_R1.clamp_min(0.5);  // at least 1, but for rows of zeros
}

}  // namespace moe::routing
