#pragma once
// T tokens, I inputs, O outputs.

#include <moe/routing/router.h>

namespace moe::routing {

/// Throws unless x_TD is floating and (T, shape.d_model).
void check_input(const Tensor& x_TD, const RouterShape& shape);

/// What routers compute in: float64 when the input or the parameter is, else float32.
at::ScalarType wide_type(const Tensor& x, const Tensor& parameter);

/// (T, O): x_TI w_OI^T + b_O in wide_type(x_TI, w_OI); autocast changes nothing. b_O may be
/// undefined.
Tensor wide_linear(const Tensor& x_TI, const Tensor& w_OI, const Tensor& b_O = {});

/// Rows of unit length; a row of zeros stays so. The largest element is divided out first, so that
/// no finite row overflows; being a constant factor it changes no gradient.
Tensor unit_rows(const Tensor& rows_RI);

}  // namespace moe::routing
