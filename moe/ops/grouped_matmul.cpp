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
                        const std::optional<Tensor>& stack, const std::optional<Tensor>& bias,
                        const ExpertTable& w_EOD) {
    const Tensor index_R = index.value_or(Tensor()), b_EO = bias.value_or(Tensor());
    ctx->save_for_backward({source_SD, index_R, offsets_E, stack.value_or(Tensor()), b_EO});
    ctx->saved_data[kWeights] = saved_table(w_EOD);
    const Segments rows(source_SD, index_R, offsets_E);
    const Tensor out_RO = rows.result(w_EOD.rows());
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      Tensor out_PO = rows.tailed(out_RO, e);
      at::mm_out(out_PO, rows.input(e), w_EOD.matrix(e, source_SD.scalar_type()).t());
      add_bias(out_PO, b_EO, e);
    }
    return rows.finished(out_RO);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &source_SD = saved[0], &stack = saved[3], &b_EO = saved[4];
    const ExpertTable w_EOD = restored_table(ctx->saved_data[kWeights], stack);
    const Segments rows(source_SD, saved[1], saved[2]);
    const Tensor dout_RO = gradients[0].contiguous();

    Tensor dw_EOD = zeros_for(stack), db_EO = zeros_for(b_EO);
    Tensor drow_RD = rows.result(source_SD.size(1));
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      const Tensor dout_PO = rows.zero_tailed(dout_RO, e);
      Tensor drow_PD = rows.tailed(drow_RD, e);
      multiply_to(dw_EOD, e, dout_PO, rows.input(e));
      at::mm_out(drow_PD, dout_PO, w_EOD.matrix(e, source_SD.scalar_type()));
      sum_bias(db_EO, dout_PO, e);
    }
    drow_RD = rows.finished(drow_RD);
    rows.clear_rest(drow_RD);
    return {rows.source_gradient(drow_RD), Tensor(), Tensor(), dw_EOD, db_EO, Tensor()};
  }

 private:
  static constexpr const char* kWeights = "w";
};

}  // namespace

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const ExpertTable& w_EOD, const Tensor& b_EO) {
  const auto sizes = w_EOD.sizes();
  check(source_SD.dim() == 2 && sizes.size() == 3 && source_SD.size(1) == sizes[2] &&
            offsets_E.size(0) == sizes[0] + 1,
        "ops/grouped_matmul", "expected source (S, D), weights (E, O, D) and offsets (E+1), got ",
        source_SD.sizes(), ", ", at::IntArrayRef(sizes), " and ", offsets_E.sizes(),
        ". Check the expert's width and number.");
  const Tensor bias_EO = cast(b_EO, source_SD.scalar_type());
  const bool by_kernels = cpu::kernels_take(source_SD, offsets_E);
  const ExpertTable weights = in_type_of(source_SD, w_EOD, by_kernels);
  if (by_kernels) return cpu::grouped_matmul(source_SD, index_R, offsets_E, weights, bias_EO);
  return GroupedMatmul::apply(source_SD.contiguous(), given(index_R), offsets_E,
                              given(weights.stack()), given(bias_EO), weights);
}

}  // namespace moe::ops
