// S source rows, R rows, T tokens, N pairs, E experts, D in, F hidden, H = F or 2F, O out.
#include <optional>

#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>
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

/// The parameters as the loops take them. Holds what they point to.
class LoopWeights {
 public:
  LoopWeights(const Rows& rows, const MlpParameters& mlp)
      : mlp_(mlp),
        w_in_E_(matrices_of(mlp.w_in, rows.experts())),
        w_out_E_(matrices_of(mlp.w_out, rows.experts())) {}

  template <class T>
  MlpWeights<T> of() const {
    return {w_in_E_.data(),      read<T>(mlp_.b_in),  w_out_E_.data(),
            read<T>(mlp_.b_out), mlp_.w_in.columns(), mlp_.w_out.columns(),
            mlp_.w_out.rows(),   mlp_.gated,          mlp_.activation};
  }

 private:
  const MlpParameters& mlp_;
  std::vector<Matrix> w_in_E_, w_out_E_;
};

void check_shapes(const Rows& rows, const MlpParameters& mlp, const Tensor& keep_RF) {
  rows.check_numbers();
  check_bias(mlp.b_in, mlp.w_in, "b_in");
  check_bias(mlp.b_out, mlp.w_out, "b_out");
  const int64_t F = mlp.w_out.columns();
  check(!keep_RF.defined() ||
            (keep_RF.dim() == 2 && keep_RF.size(0) == rows.count() && keep_RF.size(1) == F),
        kPlaceOfKernels, "expected keep of shape (", rows.count(), ", ", F, "), got ",
        keep_RF.defined() ? keep_RF.sizes() : at::IntArrayRef(),
        ". Give one number a hidden unit.");
}

Tensor forward(const Rows& rows, const MlpParameters& mlp, const Tensor& keep_RF,
               const Tensor& pre_RH) {
  const Tensor out_RO = rows.result(mlp.w_out.rows());
  const LoopWeights weights(rows, mlp);
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(rows.kernels<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                   read<T>(keep_RF), write<T>(pre_RH), write<T>(out_RO));
  });
  return out_RO;
}

/// w_in x + b_in of all rows.
Tensor pre_activations(const Rows& rows, const MlpParameters& mlp) {
  const Tensor pre_RH = rows.result(mlp.w_in.rows());
  const LoopWeights weights(rows, mlp);
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(rows.kernels<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                   /*keep_RF=*/nullptr, write<T>(pre_RH), /*out_RO=*/nullptr);
  });
  return pre_RH;
}

/// The combination by row: the pair and the token of each row of an expert.
struct PairsOfRows {
  Tensor pair_R, token_R;

  PairsOfRows(const Combination& pairs, int64_t held)
      : pair_R(at::full({held}, -1, pairs.offsets_T1.options())),
        token_R(at::empty({held}, pairs.offsets_T1.options())) {
    int64_t *const pair = write<int64_t>(pair_R), *const token = write<int64_t>(token_R);
    const int64_t *const offset = read<int64_t>(pairs.offsets_T1), *const position = read<int64_t>(
                                                                       pairs.position_N);
    const int64_t N = pairs.position_N.size(0), T = pairs.tokens();
    check(offset[0] == 0 && std::is_sorted(offset, offset + T + 1) && offset[T] == N,
          kPlaceOfKernels, "expected offsets that rise from 0 to ", N,
          " pairs, got others. Pass them as the routing holds them.");
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = offset[t]; n < offset[t + 1]; ++n) {
        const int64_t r = position[n];
        if (r < 0) continue;
        check(r < held && pair[r] < 0, kPlaceOfKernels, "expected a row in [0, ", held,
              ") of its own for each pair, got ", r, " for pair ", n, ". Check the positions.");
        pair[r] = n;
        token[r] = t;
      }
    check(std::all_of(pair, pair + held, [](int64_t n) { return n >= 0; }), kPlaceOfKernels,
          "expected a pair for each of the ", held,
          " rows of experts, got rows without one. Check the positions.");
  }
};

/// Contiguous, the weights float32.
Combination as_loops_read(const Combination& pairs) {
  return {dense(pairs.position_N.to(at::kLong)), dense(cast(pairs.weights_N, at::kFloat)),
          dense(pairs.offsets_T1.to(at::kLong))};
}

MlpParameters as_kernels_read(const MlpParameters& mlp, at::ScalarType type) {
  MlpParameters out = mlp;
  for (ExpertTable* weights : {&out.w_in, &out.w_out})
    *weights = cpu::as_kernels_read(*weights, type);
  for (Tensor* bias : {&out.b_in, &out.b_out}) *bias = dense(*bias);
  return out;
}

/// What a call has beside the tensors that get gradients.
struct Call {
  Rows rows;
  MlpParameters mlp;  // as the kernels read them
  Tensor keep_RF;
  Combination pairs;  // without its weights; undefined where the result is rows
};

/// The hidden units are computed again in the backward pass, so that only the input and the
/// pre-activations are kept; or these too, so that only the input is. Rows that are combined are
/// not kept either.
struct KernelMlp : torch::autograd::Function<KernelMlp> {
  /// The stacks are those of w_in and w_out as the caller has them, for gradients of their type.
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD,
                        const std::optional<Tensor>& stack_in,
                        const std::optional<Tensor>& /*b_in*/,
                        const std::optional<Tensor>& stack_out,
                        const std::optional<Tensor>& /*b_out*/,
                        const std::optional<Tensor>& weights_N, const Call& call) {
    const Rows& rows = call.rows;
    const MlpParameters& mlp = call.mlp;
    const Tensor pre_RH = mlp.recompute ? Tensor() : rows.result(mlp.w_in.rows());
    Tensor out_RO = cpu::forward(rows, mlp, call.keep_RF, pre_RH), pair_R, token_R;
    if (call.pairs.position_N.defined()) {
      const PairsOfRows by_row(call.pairs, rows.held());
      pair_R = by_row.pair_R;
      token_R = by_row.token_R;
      out_RO = ops::combine_rows(
          out_RO, {call.pairs.position_N, weights_N.value_or(Tensor()), call.pairs.offsets_T1});
    }
    ctx->save_for_backward({source_SD, rows.index_R, rows.offsets_E, mlp.w_in.stack(), mlp.b_in,
                            mlp.w_out.stack(), mlp.b_out, call.keep_RF,
                            weights_N.value_or(Tensor()), pair_R, token_R});
    auto& data = ctx->saved_data;
    data["w_in"] = saved_table(mlp.w_in);
    data["w_out"] = saved_table(mlp.w_out);
    save_gradient_type(ctx, kInType, stack_in);
    save_gradient_type(ctx, kOutType, stack_out);
    data["activation"] = static_cast<int64_t>(mlp.activation);
    data["gated"] = mlp.gated;
    if (!mlp.recompute) data[kPre] = pre_RH;
    return out_RO;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives(kPlaceOfKernels);
    const auto saved = ctx->get_saved_variables();
    auto& data = ctx->saved_data;
    const Rows rows(saved[0], saved[1], saved[2]);
    const MlpParameters mlp = {restored_table(data["w_in"], saved[3]),
                               saved[4],
                               restored_table(data["w_out"], saved[5]),
                               saved[6],
                               static_cast<Activation>(data["activation"].toInt()),
                               data["gated"].toBool()};
    const Tensor &keep_RF = saved[7], &weights_N = saved[8], &pair_R = saved[9],
                 &token_R = saved[10];
    // Of the rows, or of the tokens that they are for.
    const Tensor dout_XO = gradients[0].to(rows.source_SD.scalar_type()).contiguous();
    const Tensor weight_R = weights_N.defined() ? weights_N.index_select(0, pair_R) : Tensor();
    const Tensor dweight_R =
        weights_N.defined() && weights_N.requires_grad() ? at::empty_like(weight_R) : Tensor();
    const Tensor dw_in = gradient_of(ctx, kInType, mlp.w_in), db_in = gradient_of(mlp.b_in),
                 dw_out = gradient_of(ctx, kOutType, mlp.w_out), db_out = gradient_of(mlp.b_out);
    const Tensor drow_RD =
        rows.source_SD.requires_grad() ? rows.result(rows.source_SD.size(1)) : Tensor();
    const Tensor pre_RH = take_pre(ctx, rows, mlp);
    const LoopWeights weights(rows, mlp);
    with_type_of(rows.source_SD, [&]<class T>(T) {
      mlp_backward<T>(rows.kernels<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                      read<T>(keep_RF), write<T>(pre_RH),
                      {{read<T>(dout_XO), dout_XO.size(1), read<int64_t>(token_R)},
                       read<float>(weight_R),
                       write<float>(dweight_R)},
                      {write<T>(drow_RD), as_kernels_write(dw_in), write<T>(db_in),
                       as_kernels_write(dw_out), write<T>(db_out)});
    });
    const Tensor dweights_N = dweight_R.defined()
                                  ? at::zeros_like(weights_N).index_copy_(0, pair_R, dweight_R)
                                  : Tensor();
    return {rows.source_gradient(drow_RD), dw_in, db_in, dw_out, db_out, dweights_N, Tensor()};
  }

 private:
  static constexpr const char *kPre = "pre_RH", *kInType = "type of dw_in",
                              *kOutType = "type of dw_out";

  /// Freed when used: the backward pass overwrites them. A second backward computes them again.
  static Tensor take_pre(AutogradContext* ctx, const Rows& rows, const MlpParameters& mlp) {
    const auto kept = ctx->saved_data.find(kPre);
    if (kept == ctx->saved_data.end()) return pre_activations(rows, mlp);
    const Tensor pre_RH = kept->second.toTensor();
    ctx->saved_data.erase(kept);
    return pre_RH;
  }
};

/// Both operators: rows, or with `pairs` what becomes of them.
Tensor run(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
           const MlpParameters& mlp, const Tensor& keep_RF, const Combination& pairs) {
  const Tensor rows_SD = source_SD.contiguous();
  const auto type = rows_SD.scalar_type();
  const Tensor &stack_in = mlp.w_in.stack(), &stack_out = mlp.w_out.stack();
  const Call call = {Rows(rows_SD, index_R, offsets_E),
                     as_kernels_read(mlp, type),
                     dense(cast(keep_RF, type)),
                     {pairs.position_N, {}, pairs.offsets_T1}};
  check_shapes(call.rows, call.mlp, call.keep_RF);
  if (wants_gradients({source_SD, stack_in, mlp.b_in, stack_out, mlp.b_out, pairs.weights_N}))
    return KernelMlp::apply(rows_SD, given(stack_in), given(call.mlp.b_in), given(stack_out),
                            given(call.mlp.b_out), given(pairs.weights_N), call);
  const Tensor out_RO = forward(call.rows, call.mlp, call.keep_RF, {});
  if (!pairs.position_N.defined()) return out_RO;
  const PairsOfRows checked(pairs, call.rows.held());
  return ops::combine_rows(out_RO, pairs);
}

}  // namespace

Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const MlpParameters& mlp, const Tensor& keep_RF) {
  return run(source_SD, index_R, offsets_E, mlp, keep_RF, {});
}

Tensor grouped_mlp_combined(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                            const MlpParameters& mlp, const Tensor& keep_RF,
                            const Combination& pairs) {
  return run(source_SD, index_R, offsets_E, mlp, keep_RF, as_loops_read(pairs));
}

}  // namespace moe::ops::cpu
