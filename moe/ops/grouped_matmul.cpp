// S source rows, R rows, P rows of one expert's products (grouped_segments.h), E experts, D in, O
// out.
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/grouped.h>
#include <moe/ops/grouped_segments.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct GroupedMatmul : torch::autograd::Function<GroupedMatmul> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD,
                        const std::optional<Tensor>& index, const Tensor& offsets_E,
                        const Tensor& w_EOD, const std::optional<Tensor>& bias) {
    const Tensor index_R = index.value_or(Tensor()), b_EO = bias.value_or(Tensor());
    ctx->save_for_backward({source_SD, index_R, offsets_E, w_EOD, b_EO});
    const Segments rows(source_SD, index_R, offsets_E);
    const Tensor out_RO = rows.result(w_EOD.size(1));
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      Tensor out_PO = rows.tailed(out_RO, e);
      at::mm_out(out_PO, rows.input(e), w_EOD.select(0, e).t());
      add_bias(out_PO, b_EO, e);
    }
    return rows.finished(out_RO);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &source_SD = saved[0], &w_EOD = saved[3], &b_EO = saved[4];
    const Segments rows(source_SD, saved[1], saved[2]);
    const Tensor dout_RO = gradients[0].contiguous();

    Tensor dw_EOD = zeros_for(w_EOD), db_EO = zeros_for(b_EO);
    Tensor drow_RD = rows.result(source_SD.size(1));
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      const Tensor dout_PO = rows.zero_tailed(dout_RO, e);
      Tensor dw_OD = dw_EOD.select(0, e), drow_PD = rows.tailed(drow_RD, e);
      at::mm_out(dw_OD, dout_PO.t(), rows.input(e));
      at::mm_out(drow_PD, dout_PO, w_EOD.select(0, e));
      sum_bias(db_EO, dout_PO, e);
    }
    drow_RD = rows.finished(drow_RD);
    rows.clear_rest(drow_RD);
    return {rows.source_gradient(drow_RD), Tensor(), Tensor(), dw_EOD, db_EO};
  }
};

}  // namespace

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const Tensor& w_EOD, const Tensor& b_EO) {
  check(source_SD.dim() == 2 && w_EOD.dim() == 3 && source_SD.size(1) == w_EOD.size(2) &&
            offsets_E.size(0) == w_EOD.size(0) + 1,
        "ops/grouped_matmul", "expected source (S, D), weights (E, O, D) and offsets (E+1), got ",
        source_SD.sizes(), ", ", w_EOD.sizes(), " and ", offsets_E.sizes(),
        ". Check the expert's width and number.");
  const auto dtype = source_SD.scalar_type();
  if (cpu::takes(source_SD))
    return cpu::grouped_matmul(source_SD, index_R, offsets_E, cast(w_EOD, dtype),
                               cast(b_EO, dtype));
  return GroupedMatmul::apply(source_SD.contiguous(), given(index_R), offsets_E, cast(w_EOD, dtype),
                              given(cast(b_EO, dtype)));
}

}  // namespace moe::ops
