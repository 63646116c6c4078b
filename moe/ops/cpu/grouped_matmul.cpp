// S source rows, R rows, E experts, D in, O out.
#include <optional>

#include <torch/csrc/autograd/custom_function.h>

#include <moe/ops/cpu/grouped.h>
#include <moe/ops/cpu/grouped_rows.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/grouped_segments.h>

namespace moe::ops::cpu {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct KernelMatmul : torch::autograd::Function<KernelMatmul> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD,
                        const std::optional<Tensor>& index, const Tensor& offsets_E,
                        const Tensor& w_EOD, const std::optional<Tensor>& bias) {
    const Rows rows(source_SD, index.value_or(Tensor()), offsets_E);
    rows.check_numbers();
    check_bias(bias.value_or(Tensor()), w_EOD, "b");
    const Tensor b_EO = bias.value_or(Tensor()), out_RO = rows.result(w_EOD.size(1));
    ctx->save_for_backward({source_SD, rows.index_R, rows.offsets_E, w_EOD, b_EO});
    with_type_of(source_SD, [&]<class T>(T) {
      linear_forward<T>(kernels().of<T>(), rows.experts(), read<T>(w_EOD), read<T>(b_EO),
                        w_EOD.size(2), w_EOD.size(1), rows.rows<T>(), write<T>(out_RO));
    });
    return out_RO;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives(kPlaceOfKernels);
    const auto saved = ctx->get_saved_variables();
    const Rows rows(saved[0], saved[1], saved[2]);
    const Tensor &w_EOD = saved[3], dw_EOD = gradient_of(w_EOD), db_EO = gradient_of(saved[4]);
    const Tensor dout_RO = gradients[0].contiguous();
    const Tensor drow_RD = rows.source_SD.requires_grad() ? rows.result(w_EOD.size(2)) : Tensor();
    with_type_of(rows.source_SD, [&]<class T>(T) {
      linear_backward<T>(kernels().of<T>(), rows.experts(), read<T>(w_EOD), w_EOD.size(2),
                         w_EOD.size(1), rows.rows<T>(), read<T>(dout_RO),
                         {write<T>(drow_RD), write<T>(dw_EOD), write<T>(db_EO)});
    });
    return {rows.source_gradient(drow_RD), Tensor(), Tensor(), dw_EOD, db_EO};
  }
};

}  // namespace

bool takes(const Tensor& source_SD) {
  const auto type = source_SD.scalar_type();
  return source_SD.is_cpu() && (type == at::kFloat || type == at::kBFloat16) &&
         instruction_set() != InstructionSet::kLibtorch;
}

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const Tensor& w_EOD, const Tensor& b_EO) {
  return KernelMatmul::apply(source_SD.contiguous(), given(index_R), offsets_E, dense(w_EOD),
                             given(dense(b_EO)));
}

}  // namespace moe::ops::cpu
