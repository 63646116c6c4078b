// S source rows, R rows, P rows of one expert's products (grouped_segments.h), E experts, D in,
// F hidden, H = F or 2F pre-activations, O out.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/grouped.h>
#include <moe/ops/grouped_segments.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// dL/dx from dL/dact(x).
Tensor activation_gradient(const Tensor& dy, const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return at::threshold_backward(dy, x, 0);
    case Activation::kReluSquared:
      return at::relu(x).mul_(2).mul_(dy);
    case Activation::kGelu:
      return at::gelu_backward(dy, x, "none");
    case Activation::kGeluTanh:
      return at::gelu_backward(dy, x, "tanh");
    case Activation::kSilu:
      return at::silu_backward(dy, x);
  }
  fail("ops/grouped", "expected a known activation, got ", static_cast<int>(activation), ".");
}

/// h = act(pre).
struct Plain {
  static constexpr int64_t kInner = 1;
  static Tensor hidden(const Tensor& pre_PH, Activation activation) {
    return activate(pre_PH, activation);
  }
  static Tensor gradient(const Tensor& dh_PF, const Tensor& pre_PH, Activation activation) {
    return activation_gradient(dh_PF, pre_PH, activation);
  }
};

/// h = act(g) * u with pre = [g, u].
struct Gated {
  static constexpr int64_t kInner = 2;
  static Tensor hidden(const Tensor& pre_PH, Activation activation) {
    const int64_t F = pre_PH.size(1) / 2;
    return activate(pre_PH.narrow(1, 0, F), activation).mul_(pre_PH.narrow(1, F, F));
  }
  static Tensor gradient(const Tensor& dh_PF, const Tensor& pre_PH, Activation activation) {
    const int64_t F = pre_PH.size(1) / 2;
    const Tensor g_PF = pre_PH.narrow(1, 0, F), u_PF = pre_PH.narrow(1, F, F);
    return at::cat({activation_gradient(dh_PF * u_PF, g_PF, activation),
                    activate(g_PF, activation).mul_(dh_PF)},
                   1);
  }
};

/// out = w_out (Form::hidden(w_in x + b_in) * keep) + b_out, expert by expert. The hidden units are
/// computed again in the backward pass, so that only the input and the pre-activations are kept.
template <class Form>
struct GroupedMlp : torch::autograd::Function<GroupedMlp<Form>> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD,
                        const std::optional<Tensor>& index, const Tensor& offsets_E,
                        const std::optional<Tensor>& stack_in, const std::optional<Tensor>& bias_in,
                        const std::optional<Tensor>& stack_out,
                        const std::optional<Tensor>& bias_out, const std::optional<Tensor>& keep,
                        const MlpParameters& mlp) {
    const Tensor index_R = index.value_or(Tensor()), keep_RF = keep.value_or(Tensor());
    const Segments rows(source_SD, index_R, offsets_E);
    const Tensor pre_RH = mlp.recompute ? Tensor() : rows.result(mlp.w_in.rows()),
                 out_RO = rows.result(mlp.w_out.rows());
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      Tensor out_PO = rows.tailed(out_RO, e);
      const Tensor pre_PH = pre_activations(rows, pre_RH, mlp, e);
      const Tensor h_PF = Form::hidden(pre_PH, mlp.activation);
      if (keep_RF.defined()) rows.head(h_PF, e).mul_(rows.of(keep_RF, e));
      at::mm_out(out_PO, h_PF, mlp.w_out.matrix(e, rows.type()).t());
      add_bias(out_PO, mlp.b_out, e);
    }
    ctx->save_for_backward({source_SD, index_R, offsets_E, stack_in.value_or(Tensor()), mlp.b_in,
                            stack_out.value_or(Tensor()), mlp.b_out, keep_RF, pre_RH});
    ctx->saved_data["w_in"] = saved_table(mlp.w_in);
    ctx->saved_data["w_out"] = saved_table(mlp.w_out);
    ctx->saved_data["activation"] = static_cast<int64_t>(mlp.activation);
    return rows.finished(out_RO);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &source_SD = saved[0], &stack_in = saved[3], &stack_out = saved[5],
                 &keep_RF = saved[7], &pre_RH = saved[8];
    const MlpParameters mlp = {restored_table(ctx->saved_data["w_in"], stack_in),
                               saved[4],
                               restored_table(ctx->saved_data["w_out"], stack_out),
                               saved[6],
                               static_cast<Activation>(ctx->saved_data["activation"].toInt()),
                               Form::kInner == 2};
    const Segments rows(source_SD, saved[1], saved[2]);
    const Tensor dout_RO = gradients[0].contiguous();

    Tensor dw_in = zeros_for(stack_in), db_in = zeros_for(mlp.b_in), dw_out = zeros_for(stack_out),
           db_out = zeros_for(mlp.b_out);
    Tensor drow_RD = rows.result(source_SD.size(1));
    for (int64_t e = 0; e < rows.experts(); ++e) {
      if (rows.empty(e)) continue;
      const Tensor dout_PO = rows.zero_tailed(dout_RO, e),
                   pre_PH = pre_RH.defined() ? rows.tailed(pre_RH, e)
                                             : pre_activations(rows, pre_RH, mlp, e);
      Tensor drow_PD = rows.tailed(drow_RD, e);

      const Tensor h_PF = Form::hidden(pre_PH, mlp.activation);
      const Tensor dh_PF = at::mm(dout_PO, mlp.w_out.matrix(e, rows.type()));
      if (keep_RF.defined()) {
        rows.head(h_PF, e).mul_(rows.of(keep_RF, e));
        rows.head(dh_PF, e).mul_(rows.of(keep_RF, e));
      }
      const Tensor dpre_PH = Form::gradient(dh_PF, pre_PH, mlp.activation);
      rows.clear_tail(h_PF, e);
      rows.clear_tail(dpre_PH, e);
      multiply_to(dw_out, e, dout_PO, h_PF);
      multiply_to(dw_in, e, dpre_PH, rows.input(e));
      at::mm_out(drow_PD, dpre_PH, mlp.w_in.matrix(e, rows.type()));
      sum_bias(db_in, dpre_PH, e);
      sum_bias(db_out, dout_PO, e);
    }
    drow_RD = rows.finished(drow_RD);
    rows.clear_rest(drow_RD);
    return {rows.source_gradient(drow_RD),
            Tensor(),
            Tensor(),
            dw_in,
            db_in,
            dw_out,
            db_out,
            Tensor(),
            Tensor()};
  }

 private:
  /// w_in x + b_in for the rows of expert e, in their place in pre_RH unless that is undefined.
  static Tensor pre_activations(const Segments& rows, const Tensor& pre_RH,
                                const MlpParameters& mlp, int64_t e) {
    const Tensor input_PD = rows.input(e), w_DH = mlp.w_in.matrix(e, rows.type()).t();
    Tensor pre_PH = pre_RH.defined()
                        ? rows.tailed(pre_RH, e)
                        : at::empty({input_PD.size(0), mlp.w_in.rows()}, input_PD.options());
    at::mm_out(pre_PH, input_PD, w_DH);
    add_bias(pre_PH, mlp.b_in, e);
    return pre_PH;
  }
};

template <class Form>
void check_shapes(const Tensor& source_SD, const Tensor& offsets_E, const MlpParameters& mlp) {
  const auto in = mlp.w_in.sizes(), out = mlp.w_out.sizes();
  const bool fits = source_SD.dim() == 2 && in.size() == 3 && out.size() == 3 &&
                    source_SD.size(1) == in[2] && in[1] == Form::kInner * out[2] &&
                    in[0] == out[0] && offsets_E.size(0) == in[0] + 1;
  check(fits, "ops/grouped_mlp", "expected source (S, D), w_in (E, ", Form::kInner,
        "F, D), w_out (E, O, F) and offsets (E+1), got ", source_SD.sizes(), ", ",
        at::IntArrayRef(in), ", ", at::IntArrayRef(out), " and ", offsets_E.sizes(),
        ". Check the experts' widths and number.");
}

void check_shapes(const Tensor& source_SD, const Tensor& offsets_E, const MlpParameters& mlp) {
  if (mlp.gated)
    check_shapes<Gated>(source_SD, offsets_E, mlp);
  else
    check_shapes<Plain>(source_SD, offsets_E, mlp);
}

/// With parameters as products with such rows take them.
MlpParameters in_type_of(const Tensor& source_SD, const MlpParameters& mlp, bool by_kernels) {
  MlpParameters out = mlp;
  for (Tensor* bias : {&out.b_in, &out.b_out}) *bias = cast(*bias, source_SD.scalar_type());
  for (ExpertTable* weights : {&out.w_in, &out.w_out})
    *weights = ops::in_type_of(source_SD, *weights, by_kernels);
  return out;
}

template <class Form>
Tensor apply(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
             const MlpParameters& mlp, const Tensor& keep_RF) {
  return GroupedMlp<Form>::apply(source_SD.contiguous(), given(index_R), offsets_E,
                                 given(mlp.w_in.stack()), given(mlp.b_in), given(mlp.w_out.stack()),
                                 given(mlp.b_out), given(keep_RF), mlp);
}

}  // namespace

Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const MlpParameters& mlp, const Tensor& keep_RF) {
  check_shapes(source_SD, offsets_E, mlp);
  const bool by_kernels = cpu::kernels_take(source_SD, offsets_E);
  const MlpParameters typed = in_type_of(source_SD, mlp, by_kernels);
  if (by_kernels) return cpu::grouped_mlp(source_SD, index_R, offsets_E, typed, keep_RF);
  return typed.gated ? apply<Gated>(source_SD, index_R, offsets_E, typed, keep_RF)
                     : apply<Plain>(source_SD, index_R, offsets_E, typed, keep_RF);
}

Tensor grouped_mlp_combined(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                            const MlpParameters& mlp, const Tensor& keep_RF,
                            const Combination& pairs) {
  check_shapes(source_SD, offsets_E, mlp);
  check_combination(pairs, "ops/grouped_mlp");
  if (cpu::kernels_take(source_SD, offsets_E))
    return cpu::grouped_mlp_combined(source_SD, index_R, offsets_E,
                                     in_type_of(source_SD, mlp, true), keep_RF, pairs);
  return combine_rows(grouped_mlp(source_SD, index_R, offsets_E, mlp, keep_RF), pairs);
}

}  // namespace moe::ops
