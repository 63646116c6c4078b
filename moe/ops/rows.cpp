// S source rows, R rows, T tokens, N pairs, D width.
#include <algorithm>
#include <optional>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/rows.h>
#include <moe/ops/order.h>
#include <moe/ops/rows.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType sum_type(const Tensor& rows_RD) {
  return rows_RD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// The rows of the pairs that have one, and those pairs: the form in which other devices compute.
struct KeptPairs {
  Tensor pair_M, row_M, token_M;
  KeptPairs(const Tensor& position_N, const Tensor& offsets_T1) {
    pair_M = position_N.ge(0).nonzero().squeeze(1);
    row_M = position_N.index_select(0, pair_M);
    const Tensor counts_T = offsets_T1.slice(0, 1) - offsets_T1.slice(0, 0, -1);
    token_M = at::repeat_interleave(counts_T).index_select(0, pair_M);
  }
};

/// Rows belong to at most one pair, so that counting tells.
bool every_row_has_a_pair(const Tensor& position_N, const Tensor& rows_RD) {
  if (!rows_RD.is_cpu()) return false;  // no synchronisation for this
  const Tensor contiguous_N = position_N.contiguous();
  const int64_t* position = contiguous_N.const_data_ptr<int64_t>();
  return std::count_if(position, position + contiguous_N.numel(),
                       [](int64_t p) { return p >= 0; }) == rows_RD.size(0);
}

Tensor combine_forward(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                       const Tensor& offsets_T1) {
  const auto type = sum_type(rows_RD);
  const Tensor weight_N = weights_N.defined() ? weights_N.to(type).contiguous() : weights_N;
  Tensor y_TD = at::empty({offsets_T1.size(0) - 1, rows_RD.size(1)}, rows_RD.options().dtype(type));
  if (rows_RD.is_cpu()) {
    cpu::combine_rows(rows_RD.contiguous(), position_N.contiguous(), weight_N,
                      offsets_T1.contiguous(), y_TD);
    return y_TD;
  }
  y_TD.zero_();
  const KeptPairs kept(position_N, offsets_T1);
  Tensor part_MD = rows_RD.index_select(0, kept.row_M).to(type);
  if (weight_N.defined()) part_MD = part_MD * weight_N.index_select(0, kept.pair_M).unsqueeze(1);
  return y_TD.index_add_(0, kept.token_M, part_MD);
}

struct CombineRows : torch::autograd::Function<CombineRows> {
  // An undefined tensor may reach Function::apply as an optional only.
  static Tensor forward(AutogradContext* ctx, const Tensor& rows_RD, const Tensor& position_N,
                        const std::optional<Tensor>& given_N, const Tensor& offsets_T1) {
    const Tensor weights_N = given_N.value_or(Tensor());
    ctx->save_for_backward({rows_RD, position_N, weights_N, offsets_T1});
    return combine_forward(rows_RD, position_N, weights_N, offsets_T1);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &rows_RD = saved[0], &position_N = saved[1], &weights_N = saved[2],
                 &offsets_T1 = saved[3];
    const Tensor dy_TD = gradients[0].contiguous();
    const Tensor weight_N =
        weights_N.defined() ? weights_N.to(dy_TD.scalar_type()).contiguous() : weights_N;
    Tensor drows_RD = at::empty_like(rows_RD, rows_RD.options(), at::MemoryFormat::Contiguous);
    if (!every_row_has_a_pair(position_N, rows_RD)) drows_RD.zero_();
    Tensor dweight_N;
    if (weight_N.defined()) dweight_N = at::zeros_like(weight_N);
    if (rows_RD.is_cpu()) {
      cpu::combine_rows_backward(dy_TD, rows_RD.contiguous(), position_N.contiguous(), weight_N,
                                 offsets_T1.contiguous(), drows_RD, dweight_N);
    } else {
      const KeptPairs kept(position_N, offsets_T1);
      const Tensor dy_MD = dy_TD.index_select(0, kept.token_M);
      if (weight_N.defined()) {
        drows_RD.index_copy_(
            0, kept.row_M,
            (dy_MD * weight_N.index_select(0, kept.pair_M).unsqueeze(1)).to(rows_RD.scalar_type()));
        dweight_N.index_copy_(0, kept.pair_M, (dy_MD * rows_RD.index_select(0, kept.row_M)).sum(1));
      } else {
        drows_RD.index_copy_(0, kept.row_M, dy_MD.to(rows_RD.scalar_type()));
      }
    }
    if (dweight_N.defined()) dweight_N = dweight_N.to(weights_N.scalar_type());
    return {drows_RD, Tensor(), dweight_N, Tensor()};
  }
};

struct GatherRows : torch::autograd::Function<GatherRows> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source_SD, const Tensor& index_R) {
    ctx->save_for_backward({index_R});
    ctx->saved_data["sources"] = source_SD.size(0);
    return at::index_select(source_SD, 0, index_R);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const Tensor index_R = ctx->get_saved_variables()[0];
    return {scatter_add_rows(gradients[0], index_R, ctx->saved_data["sources"].toInt()), Tensor()};
  }
};

}  // namespace

Tensor scatter_add_rows(const Tensor& rows_RD, const Tensor& index_R, int64_t sources) {
  const Order by_source = counting_sort(index_R, sources);
  return combine_forward(rows_RD, by_source.order_N, {}, by_source.offsets_E)
      .to(rows_RD.scalar_type());
}

Tensor gather_rows(const Tensor& source_SD, const Tensor& index_R) {
  check(source_SD.dim() == 2 && index_R.dim() == 1, "ops/gather_rows",
        "expected source (S, D) and index (R), got ", source_SD.sizes(), " and ", index_R.sizes(),
        ". Flatten batch and sequence first.");
  return GatherRows::apply(source_SD, index_R);
}

void check_combination(const Combination& pairs, std::string_view place) {
  const auto& [position_N, weights_N, offsets_T1] = pairs;
  check(position_N.dim() == 1 && offsets_T1.dim() == 1 && offsets_T1.size(0) >= 1, place,
        "expected positions (N) and offsets (T+1), got ", position_N.sizes(), " and ",
        offsets_T1.sizes(), ". Pass them as the plan holds them.");
  check(!weights_N.defined() || weights_N.sizes() == position_N.sizes(), place,
        "expected weights of shape ", position_N.sizes(), ", got ", weights_N.sizes(),
        ". One weight a pair is needed.");
}

Tensor combine_rows(const Tensor& rows_RD, const Combination& pairs) {
  check(rows_RD.dim() == 2, "ops/combine_rows", "expected rows (R, D), got ", rows_RD.sizes(),
        ". Flatten batch and sequence first.");
  check_combination(pairs, "ops/combine_rows");
  return CombineRows::apply(rows_RD, pairs.position_N, std::optional<Tensor>(pairs.weights_N),
                            pairs.offsets_T1);
}

}  // namespace moe::ops
