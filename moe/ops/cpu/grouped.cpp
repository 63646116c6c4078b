// S source rows, R rows, E experts, D in, F hidden, H = F or 2F, O out.
#include <algorithm>
#include <optional>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/grouped_segments.h>
#include <moe/ops/rows.h>

namespace moe::ops::cpu {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kPlaceOfKernels = "ops/grouped";

/// Calls function(T()) with the kernels' type for the tensor's.
template <class Function>
void with_type_of(const Tensor& tensor, const Function& function) {
  if (tensor.scalar_type() == at::kBFloat16)
    function(BFloat16());
  else
    function(float());
}

template <class T>
const T* read(const Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}

template <class T>
T* write(const Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

Tensor dense(const Tensor& tensor) {
  return tensor.defined() ? tensor.contiguous() : tensor;
}

/// Room for dL/dparameter; undefined where nobody wants it.
Tensor gradient_of(const Tensor& parameter) {
  return parameter.defined() && parameter.requires_grad()
             ? at::empty_like(parameter, at::MemoryFormat::Contiguous)
             : Tensor();
}

/// Lazy rows and whose they are.
struct Rows {
  Tensor source_SD, index_R, offsets_E;

  Rows(const Tensor& source, const Tensor& index, const Tensor& offsets)
      : source_SD(source), index_R(dense(index)), offsets_E(offsets.to(at::kCPU).contiguous()) {}

  /// The loops read memory by these numbers.
  void check_numbers() const {
    check((!index_R.defined() || index_R.scalar_type() == at::kLong) &&
              offsets_E.scalar_type() == at::kLong,
          kPlaceOfKernels, "expected int64 index and offsets, got ",
          index_R.defined() ? index_R.scalar_type() : at::kLong, " and ", offsets_E.scalar_type(),
          ". Convert them.");
    const int64_t* offset = read<int64_t>(offsets_E);
    const int64_t E = experts().count;
    check(offset[0] == 0 && std::is_sorted(offset, offset + E + 1) && offset[E] <= count(),
          kPlaceOfKernels, "expected offsets that rise from 0 to at most ", count(),
          " rows, got others. Sort rows by expert.");
    if (!index_R.defined()) return;
    const int64_t* index = read<int64_t>(index_R);
    const int64_t S = source_SD.size(0);
    check(std::all_of(index, index + offset[E], [S](int64_t i) { return 0 <= i && i < S; }),
          kPlaceOfKernels, "expected row numbers in [0, ", S, "), got others. Check the index.");
  }

  int64_t count() const { return index_R.defined() ? index_R.size(0) : source_SD.size(0); }
  Tensor result(int64_t width) const { return at::empty({count(), width}, source_SD.options()); }
  Experts experts() const { return {offsets_E.size(0) - 1, read<int64_t>(offsets_E)}; }
  template <class T>
  RowsOf<T> rows() const {
    return {read<T>(source_SD), source_SD.size(1), read<int64_t>(index_R)};
  }

  /// dL/dsource from dL/drow, whose rows of no expert are still undefined.
  Tensor source_gradient(const Tensor& drow_RD) const {
    if (!drow_RD.defined()) return drow_RD;
    drow_RD.slice(0, experts().offsets_E[experts().count]).zero_();
    return index_R.defined() ? scatter_add_rows(drow_RD, index_R, source_SD.size(0)) : drow_RD;
  }
};

struct Weights {
  Tensor w_in, b_in, w_out, b_out;
  Activation activation;
  bool gated;

  template <class T>
  MlpWeights<T> of() const {
    return {read<T>(w_in), read<T>(b_in), read<T>(w_out), read<T>(b_out), w_in.size(2),
            w_out.size(2), w_out.size(1), gated,          activation};
  }
};

void check_bias(const Tensor& bias, const Tensor& weights, const char* name) {
  check(!bias.defined() || bias.sizes() == weights.sizes().slice(0, 2), kPlaceOfKernels,
        "expected ", name, " of shape ", weights.sizes().slice(0, 2), ", got ",
        bias.defined() ? bias.sizes() : at::IntArrayRef(),
        ". Give one number a row of the weights.");
}

void check_shapes(const Rows& rows, const Weights& weights, const Tensor& keep_RF) {
  rows.check_numbers();
  check_bias(weights.b_in, weights.w_in, "b_in");
  check_bias(weights.b_out, weights.w_out, "b_out");
  check(!keep_RF.defined() || (keep_RF.dim() == 2 && keep_RF.size(0) == rows.count() &&
                               keep_RF.size(1) == weights.w_out.size(2)),
        kPlaceOfKernels, "expected keep of shape (", rows.count(), ", ", weights.w_out.size(2),
        "), got ", keep_RF.defined() ? keep_RF.sizes() : at::IntArrayRef(),
        ". Give one number a hidden unit.");
}

Tensor forward(const Rows& rows, const Weights& weights, const Tensor& keep_RF,
               const Tensor& pre_RH) {
  check_shapes(rows, weights, keep_RF);
  const Tensor out_RO = rows.result(weights.w_out.size(1));
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(kernels().of<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                   read<T>(keep_RF), write<T>(pre_RH), write<T>(out_RO));
  });
  return out_RO;
}

/// w_in x + b_in of all rows.
Tensor pre_activations(const Rows& rows, const Weights& weights) {
  const Tensor pre_RH = rows.result(weights.w_in.size(1));
  with_type_of(rows.source_SD, [&]<class T>(T) {
    mlp_forward<T>(kernels().of<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                   /*keep_RF=*/nullptr, write<T>(pre_RH), /*out_RO=*/nullptr);
  });
  return pre_RH;
}

/// The hidden units are computed again in the backward pass, so that only the input and the
/// pre-activations are kept; or these too, so that only the input is.
struct KernelMlp : torch::autograd::Function<KernelMlp> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD,
                        const std::optional<Tensor>& index, const Tensor& offsets_E,
                        const Tensor& w_in, const std::optional<Tensor>& bias_in,
                        const Tensor& w_out, const std::optional<Tensor>& bias_out,
                        const std::optional<Tensor>& keep, int64_t activation, bool gated,
                        bool recompute) {
    const Rows rows(source_SD, index.value_or(Tensor()), offsets_E);
    const Weights weights = {w_in,
                             bias_in.value_or(Tensor()),
                             w_out,
                             bias_out.value_or(Tensor()),
                             static_cast<Activation>(activation),
                             gated};
    const Tensor keep_RF = keep.value_or(Tensor());
    const Tensor pre_RH = recompute ? Tensor() : rows.result(w_in.size(1));
    const Tensor out_RO = cpu::forward(rows, weights, keep_RF, pre_RH);
    ctx->save_for_backward({source_SD, rows.index_R, rows.offsets_E, w_in, weights.b_in, w_out,
                            weights.b_out, keep_RF});
    ctx->saved_data["activation"] = activation;
    ctx->saved_data["gated"] = gated;
    if (!recompute) ctx->saved_data[kPre] = pre_RH;
    return out_RO;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives(kPlaceOfKernels);
    const auto saved = ctx->get_saved_variables();
    const Rows rows(saved[0], saved[1], saved[2]);
    const Weights weights = {saved[3],
                             saved[4],
                             saved[5],
                             saved[6],
                             static_cast<Activation>(ctx->saved_data["activation"].toInt()),
                             ctx->saved_data["gated"].toBool()};
    const Tensor &keep_RF = saved[7], dout_RO = gradients[0].contiguous();
    const Tensor dw_in = gradient_of(weights.w_in), db_in = gradient_of(weights.b_in),
                 dw_out = gradient_of(weights.w_out), db_out = gradient_of(weights.b_out);
    const Tensor drow_RD =
        rows.source_SD.requires_grad() ? rows.result(rows.source_SD.size(1)) : Tensor();
    const Tensor pre_RH = take_pre(ctx, rows, weights);
    with_type_of(rows.source_SD, [&]<class T>(T) {
      mlp_backward<T>(kernels().of<T>(), rows.experts(), weights.of<T>(), rows.rows<T>(),
                      read<T>(keep_RF), write<T>(pre_RH), read<T>(dout_RO),
                      {write<T>(drow_RD), write<T>(dw_in), write<T>(db_in), write<T>(dw_out),
                       write<T>(db_out)});
    });
    return {rows.source_gradient(drow_RD),
            Tensor(),
            Tensor(),
            dw_in,
            db_in,
            dw_out,
            db_out,
            Tensor(),
            Tensor(),
            Tensor(),
            Tensor()};
  }

 private:
  static constexpr const char* kPre = "pre_RH";

  /// The backward pass writes over them, so they are there once: a graph that is kept for another
  /// pass computes them again.
  static Tensor take_pre(AutogradContext* ctx, const Rows& rows, const Weights& weights) {
    const auto kept = ctx->saved_data.find(kPre);
    if (kept == ctx->saved_data.end()) return pre_activations(rows, weights);
    const Tensor pre_RH = kept->second.toTensor();
    ctx->saved_data.erase(kept);
    return pre_RH;
  }
};

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

Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const Tensor& w_in, const Tensor& b_in, const Tensor& w_out, const Tensor& b_out,
                   const Tensor& keep_RF, Activation activation, bool gated, bool recompute) {
  const Weights weights = {dense(w_in), dense(b_in), dense(w_out), dense(b_out), activation, gated};
  const Tensor rows_SD = source_SD.contiguous(),
               mask_RF = dense(cast(keep_RF, rows_SD.scalar_type()));
  if (!wants_gradients({source_SD, w_in, b_in, w_out, b_out}))
    return forward(Rows(rows_SD, index_R, offsets_E), weights, mask_RF, {});
  return KernelMlp::apply(rows_SD, given(index_R), offsets_E, weights.w_in, given(weights.b_in),
                          weights.w_out, given(weights.b_out), given(mask_RF),
                          static_cast<int64_t>(activation), gated, recompute);
}

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const Tensor& w_EOD, const Tensor& b_EO) {
  return KernelMatmul::apply(source_SD.contiguous(), given(index_R), offsets_E, dense(w_EOD),
                             given(dense(b_EO)));
}

}  // namespace moe::ops::cpu
