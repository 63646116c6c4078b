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

template <class T>
MlpWeights<T> weights_of(const MlpParameters& mlp) {
  return {read<T>(mlp.w_in),  read<T>(mlp.b_in), read<T>(mlp.w_out),
          read<T>(mlp.b_out), mlp.w_in.size(2),  mlp.w_out.size(2),
          mlp.w_out.size(1),  mlp.gated,         mlp.activation};
}

void check_shapes(const Rows& rows, const MlpParameters& mlp, const Tensor& keep_RF) {
  rows.check_numbers();
  check_bias(mlp.b_in, mlp.w_in, "b_in");
  check_bias(mlp.b_out, mlp.w_out, "b_out");
  check(!keep_RF.defined() || (keep_RF.dim() == 2 && keep_RF.size(0) == rows.count() &&
                               keep_RF.size(1) == mlp.w_out.size(2)),
        kPlaceOfKernels, "expected keep of shape (", rows.count(), ", ", mlp.w_out.size(2),
        "), got ", keep_RF.defined() ? keep_RF.sizes() : at::IntArrayRef(),
        ". Give one number a hidden unit.");
}

Tensor forward(const Rows& rows, const MlpParameters& mlp, const Tensor& keep_RF,
               const Tensor& pre_RH) {
  const Tensor out_RO = rows.result(mlp.w_out.size(1));
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(kernels().of<T>(), rows.experts(), weights_of<T>(mlp), rows.rows<T>(),
                   read<T>(keep_RF), write<T>(pre_RH), write<T>(out_RO));
  });
  return out_RO;
}

/// w_in x + b_in of all rows.
Tensor pre_activations(const Rows& rows, const MlpParameters& mlp) {
  const Tensor pre_RH = rows.result(mlp.w_in.size(1));
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(kernels().of<T>(), rows.experts(), weights_of<T>(mlp), rows.rows<T>(),
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

/// A weight with a sink is cut off from the graph: its gradient goes another way.
Tensor cut_off(const Tensor& weights, const GradientSinkPtr& sink) {
  return sink ? weights.detach() : weights;
}

/// The parameter takes its place: it holds the graph together, and gets what the sink leaves to
/// autograd.
std::optional<Tensor> owner_of(const GradientSinkPtr& sink) {
  return sink ? given(sink->parameter()) : std::nullopt;
}

c10::IValue held(const GradientSinkPtr& sink) {
  return sink ? c10::IValue::make_capsule(sink) : c10::IValue();
}

SinkPass pass_of(const c10::IValue& held) {
  return SinkPass(held.isNone()
                      ? GradientSinkPtr()
                      : c10::static_intrusive_pointer_cast<GradientSink>(held.toCapsule()));
}

WeightSums sums_of(SinkPass& pass) {
  return {pass.sums(), pass.state_E(), &kernels().of<float>()};
}

/// What a call has beside the tensors that get gradients.
struct Call {
  Rows rows;
  Tensor keep_RF;
  Activation activation;
  bool gated, recompute;
  /// The weights aside; undefined where the result is rows.
  Combination pairs;
  MlpSinks sinks;
};

/// The hidden units are computed again in the backward pass, so that only the input and the
/// pre-activations are kept; or these too, so that only the input is. Rows that are combined are
/// not kept either.
struct KernelMlp : torch::autograd::Function<KernelMlp> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD, const Tensor& w_in,
                        const std::optional<Tensor>& bias_in, const Tensor& w_out,
                        const std::optional<Tensor>& bias_out,
                        const std::optional<Tensor>& weights_N,
                        const std::optional<Tensor>& /*owner_in*/,
                        const std::optional<Tensor>& /*owner_out*/, const Call& call) {
    const Rows& rows = call.rows;
    const MlpParameters mlp = {
        w_in,      bias_in.value_or(Tensor()), w_out, bias_out.value_or(Tensor()), call.activation,
        call.gated};
    const Tensor pre_RH = call.recompute ? Tensor() : rows.result(w_in.size(1));
    Tensor out_RO = cpu::forward(rows, mlp, call.keep_RF, pre_RH), pair_R, token_R;
    if (call.pairs.position_N.defined()) {
      const PairsOfRows by_row(call.pairs, rows.held());
      pair_R = by_row.pair_R;
      token_R = by_row.token_R;
      out_RO = ops::combine_rows(
          out_RO, {call.pairs.position_N, weights_N.value_or(Tensor()), call.pairs.offsets_T1});
    }
    ctx->save_for_backward({source_SD, rows.index_R, rows.offsets_E, w_in, mlp.b_in, w_out,
                            mlp.b_out, call.keep_RF, weights_N.value_or(Tensor()), pair_R,
                            token_R});
    ctx->saved_data["activation"] = static_cast<int64_t>(call.activation);
    ctx->saved_data["gated"] = call.gated;
    ctx->saved_data["sink_in"] = held(call.sinks.w_in);
    ctx->saved_data["sink_out"] = held(call.sinks.w_out);
    if (!call.recompute) ctx->saved_data[kPre] = pre_RH;
    return out_RO;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives(kPlaceOfKernels);
    const auto saved = ctx->get_saved_variables();
    const Rows rows(saved[0], saved[1], saved[2]);
    const MlpParameters mlp = {saved[3],
                               saved[4],
                               saved[5],
                               saved[6],
                               static_cast<Activation>(ctx->saved_data["activation"].toInt()),
                               ctx->saved_data["gated"].toBool()};
    const Tensor &keep_RF = saved[7], &weights_N = saved[8], &pair_R = saved[9],
                 &token_R = saved[10];
    // Of the rows, or of the tokens that they are for.
    const Tensor dout_XO = gradients[0].to(rows.source_SD.scalar_type()).contiguous();
    const Tensor weight_R = weights_N.defined() ? weights_N.index_select(0, pair_R) : Tensor();
    const Tensor dweight_R =
        weights_N.defined() && weights_N.requires_grad() ? at::empty_like(weight_R) : Tensor();
    const Tensor dw_in = gradient_of(mlp.w_in), db_in = gradient_of(mlp.b_in),
                 dw_out = gradient_of(mlp.w_out), db_out = gradient_of(mlp.b_out);
    const Tensor drow_RD =
        rows.source_SD.requires_grad() ? rows.result(rows.source_SD.size(1)) : Tensor();
    const Tensor pre_RH = take_pre(ctx, rows, mlp);
    SinkPass into_in = pass_of(ctx->saved_data["sink_in"]),
             into_out = pass_of(ctx->saved_data["sink_out"]);
    with_type_of(rows.source_SD, [&]<class T>(T) {
      mlp_backward<T>(kernels().of<T>(), rows.experts(), weights_of<T>(mlp), rows.rows<T>(),
                      read<T>(keep_RF), write<T>(pre_RH),
                      {{read<T>(dout_XO), dout_XO.size(1), read<int64_t>(token_R)},
                       read<float>(weight_R),
                       write<float>(dweight_R)},
                      {write<T>(drow_RD), write<T>(dw_in), write<T>(db_in), write<T>(dw_out),
                       write<T>(db_out), sums_of(into_in), sums_of(into_out)});
    });
    const Tensor dweights_N = dweight_R.defined()
                                  ? at::zeros_like(weights_N).index_copy_(0, pair_R, dweight_R)
                                  : Tensor();
    return {rows.source_gradient(drow_RD),
            dw_in,
            db_in,
            dw_out,
            db_out,
            dweights_N,
            into_in.result(),
            into_out.result(),
            Tensor()};
  }

 private:
  static constexpr const char* kPre = "pre_RH";

  /// The backward pass writes over them, so they are there once: a graph that is kept for another
  /// pass computes them again.
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
  const MlpParameters weights = {dense(cut_off(mlp.w_in, mlp.sinks.w_in)),
                                 dense(mlp.b_in),
                                 dense(cut_off(mlp.w_out, mlp.sinks.w_out)),
                                 dense(mlp.b_out),
                                 mlp.activation,
                                 mlp.gated};
  const Tensor rows_SD = source_SD.contiguous();
  const Call call = {Rows(rows_SD, index_R, offsets_E),
                     dense(cast(keep_RF, rows_SD.scalar_type())),
                     mlp.activation,
                     mlp.gated,
                     mlp.recompute,
                     {pairs.position_N, {}, pairs.offsets_T1},
                     mlp.sinks};
  check_shapes(call.rows, weights, call.keep_RF);
  if (wants_gradients({source_SD, mlp.w_in, mlp.b_in, mlp.w_out, mlp.b_out, pairs.weights_N}))
    return KernelMlp::apply(rows_SD, weights.w_in, given(weights.b_in), weights.w_out,
                            given(weights.b_out), given(pairs.weights_N), owner_of(mlp.sinks.w_in),
                            owner_of(mlp.sinks.w_out), call);
  const Tensor out_RO = forward(call.rows, weights, call.keep_RF, {});
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
