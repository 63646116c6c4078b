// R rows, M rows of one expert, E experts, F width.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/grouped.h>
#include <moe/ops/grouped_segments.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows are normalised all at once; only scale and shift go by expert, so that their gradients are
/// sums over an expert's rows in the rows' order, whatever the number of threads.
struct GroupedLayerNorm : torch::autograd::Function<GroupedLayerNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& rows_RF, const Tensor& offsets_E,
                        const Tensor& scale_EF, const Tensor& shift_EF, double epsilon) {
    const Segments rows(rows_RF, {}, offsets_E);
    const auto [unit_RF, mean_R1, inverse_R1] =
        at::native_layer_norm(rows_RF, {rows_RF.size(1)}, {}, {}, epsilon);
    for (int64_t e = 0; e < rows.experts(); ++e)
      rows.of(unit_RF, e).mul_(scale_EF.select(0, e)).add_(shift_EF.select(0, e));
    ctx->save_for_backward({rows_RF, offsets_E, scale_EF, mean_R1, inverse_R1});
    return unit_RF;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &rows_RF = saved[0], &scale_EF = saved[2], &mean_R1 = saved[3],
                 &inverse_R1 = saved[4];
    const Segments rows(rows_RF, {}, saved[1]);
    const Tensor dout_RF = gradients[0].contiguous();

    const Tensor unit_RF = (rows_RF - mean_R1) * inverse_R1;
    const Tensor dscale_EF = at::zeros_like(scale_EF), dshift_EF = at::zeros_like(scale_EF);
    const Tensor dunit_RF = at::empty_like(dout_RF);
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      const Tensor dout_MF = rows.of(dout_RF, e);
      dscale_EF.select(0, e).copy_((dout_MF * rows.of(unit_RF, e)).sum(0));
      dshift_EF.select(0, e).copy_(dout_MF.sum(0));
      rows.of(dunit_RF, e).copy_(dout_MF * scale_EF.select(0, e));
    }
    rows.clear_rest(dunit_RF);
    const Tensor drow_RF = std::get<0>(at::native_layer_norm_backward(
        dunit_RF, rows_RF, {rows_RF.size(1)}, mean_R1, inverse_R1, {}, {}, {true, false, false}));
    rows.clear_rest(drow_RF);
    return {drow_RF, Tensor(), dscale_EF, dshift_EF, Tensor()};
  }
};

}  // namespace

Tensor grouped_layer_norm(const Tensor& rows_RF, const Tensor& offsets_E, const Tensor& scale_EF,
                          const Tensor& shift_EF, double epsilon) {
  check(rows_RF.dim() == 2 && scale_EF.dim() == 2 && scale_EF.size(1) == rows_RF.size(1) &&
            shift_EF.sizes() == scale_EF.sizes() && offsets_E.size(0) == scale_EF.size(0) + 1,
        "ops/grouped_layer_norm",
        "expected rows (R, F), scale and shift (E, F) and offsets (E+1), "
        "got ",
        rows_RF.sizes(), ", ", scale_EF.sizes(), ", ", shift_EF.sizes(), " and ", offsets_E.sizes(),
        ". Check the experts' width and number.");
  const auto type = rows_RF.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return GroupedLayerNorm::apply(rows_RF.to(type).contiguous(), offsets_E, scale_EF.to(type),
                                 shift_EF.to(type), epsilon)
      .to(rows_RF.scalar_type());
}

}  // namespace moe::ops
