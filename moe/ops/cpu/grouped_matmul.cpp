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
                        const std::optional<Tensor>& stack, const std::optional<Tensor>& bias,
                        const ExpertTable& w_EOD) {
    const Rows rows(source_SD, index.value_or(Tensor()), offsets_E);
    rows.check_numbers();
    const Tensor b_EO = bias.value_or(Tensor()), out_RO = rows.result(w_EOD.rows());
    check_bias(b_EO, w_EOD, "b");
    ctx->save_for_backward({source_SD, rows.index_R, rows.offsets_E, w_EOD.stack(), b_EO});
    ctx->saved_data[kWeights] = saved_table(w_EOD);
    save_gradient_type(ctx, kType, stack);
    const auto matrices = matrices_of(w_EOD, rows.experts());
    with_type_of(source_SD, [&]<class T>(T) {
      linear_forward<T>(rows.kernels<T>(), rows.experts(), weights_of<T>(w_EOD, matrices, b_EO),
                        rows.rows<T>(), write<T>(out_RO));
    });
    return out_RO;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives(kPlaceOfKernels);
    const auto saved = ctx->get_saved_variables();
    const Rows rows(saved[0], saved[1], saved[2]);
    const ExpertTable w_EOD = restored_table(ctx->saved_data[kWeights], saved[3]);
    const Tensor &b_EO = saved[4], dw_EOD = gradient_of(ctx, kType, w_EOD);
    const Tensor db_EO = gradient_of(b_EO), dout_RO = gradients[0].contiguous();
    const Tensor drow_RD = rows.source_SD.requires_grad() ? rows.result(w_EOD.columns()) : Tensor();
    const auto matrices = matrices_of(w_EOD, rows.experts());
    with_type_of(rows.source_SD, [&]<class T>(T) {
      linear_backward<T>(rows.kernels<T>(), rows.experts(), weights_of<T>(w_EOD, matrices, b_EO),
                         rows.rows<T>(), read<T>(dout_RO),
                         {write<T>(drow_RD), as_kernels_write(dw_EOD), write<T>(db_EO)});
    });
    return {rows.source_gradient(drow_RD), Tensor(), Tensor(), dw_EOD, db_EO, Tensor()};
  }

 private:
  static constexpr const char *kWeights = "w", *kType = "type of dw";

  template <class T>
  static LinearWeights<T> weights_of(const ExpertTable& w_EOD, const std::vector<Matrix>& matrices,
                                     const Tensor& b_EO) {
    return {matrices.data(), read<T>(b_EO), w_EOD.columns(), w_EOD.rows()};
  }
};

}  // namespace

bool kernels_take(const Tensor& source_SD, const Tensor& offsets_E) {
  const auto type = source_SD.scalar_type();
  if (!source_SD.is_cpu() || (type != at::kFloat && type != at::kBFloat16)) return false;
  const auto products = type == at::kFloat ? ProductType::kFloat32 : ProductType::kBFloat16;
  return instruction_set(products,
                         rows_an_expert(offsets_E.to(at::kCPU, at::kLong).contiguous())) !=
         InstructionSet::kLibtorch;
}

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const ExpertTable& w_EOD, const Tensor& b_EO) {
  return KernelMatmul::apply(source_SD.contiguous(), given(index_R), offsets_E,
                             given(w_EOD.stack()), given(dense(b_EO)),
                             as_kernels_read(w_EOD, source_SD.scalar_type()));
}

}  // namespace moe::ops::cpu
