#pragma once
// S source rows, R rows, M rows of one expert, P >= M rows its products run with, E experts, D in.

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/expert_table.h>
#include <moe/ops/rows.h>

namespace moe::ops {

/// How many rows to run a product of M rows with. For 16-bit types on the CPU oneDNN makes a plan
/// for each shape it has not seen, which takes longer than the product, and an expert's row count
/// is new in nearly every step; 16 counts an octave keep the plans few and the waste near
/// 3 %, from 64 rows up.
inline int64_t planned_rows(int64_t M, const Tensor& source) {
  const bool plans = source.is_cpu() && c10::isReducedFloatingType(source.scalar_type());
  if (!plans || M <= 4) return M;
  const auto step = std::max<int64_t>(4, std::bit_floor(static_cast<uint64_t>(M)) / 16);
  return (M + step - 1) / step * step;
}

/// Lazy rows cut into one segment an expert; the shared part of the grouped operations.
///
/// Products run with `planned_rows`: the M rows of an expert and a tail. Tails of results are
/// garbage, which the next expert overwrites, so experts must be visited in ascending order; what
/// a sum over rows reads (`input`, `zero_tailed`) has zeros there.
class Segments {
 public:
  Segments(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E)
      : source_SD_(source_SD), index_R_(index_R) {
    const Tensor host = offsets_E.to(at::kCPU).contiguous();
    const int64_t* first = host.const_data_ptr<int64_t>();
    offsets_.assign(first, first + host.size(0));
    rows_ = index_R.defined() ? index_R.size(0) : source_SD.size(0);
    for (int64_t e = 0; e < experts(); ++e)
      padded_rows_ = std::max(padded_rows_, begin(e) + planned(e));
    padded_rows_ = std::max(padded_rows_, rows_);
  }

  int64_t experts() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  at::ScalarType type() const { return source_SD_.scalar_type(); }
  bool empty(int64_t e) const { return begin(e) == end(e); }
  /// An uninitialised tensor with a row for each of R, and rows for the last tail.
  Tensor result(int64_t width) const {
    return at::empty({padded_rows_, width}, source_SD_.options());
  }
  /// What a `result` is without the rows behind row R. Not a view, so that autograd may own it.
  Tensor finished(Tensor result) const { return result.resize_({rows_, result.size(1)}); }
  /// The (M, .) rows of expert e within a tensor that has a row for each of R.
  Tensor of(const Tensor& values, int64_t e) const { return values.slice(0, begin(e), end(e)); }
  /// The (P, .) rows of expert e and its tail within a `result`.
  Tensor tailed(const Tensor& result, int64_t e) const {
    return result.narrow(0, begin(e), planned(e));
  }
  /// The (P, .) rows of expert e within a tensor that has a row for each of R, then zeros.
  Tensor zero_tailed(const Tensor& values, int64_t e) const {
    if (planned(e) == count(e)) return of(values, e);
    Tensor rows = at::empty({planned(e), values.size(1)}, values.options());
    head(rows, e).copy_(of(values, e));
    clear_tail(rows, e);
    return rows;
  }
  /// The (P, D) input rows of expert e, gathered if need be, then zeros.
  Tensor input(int64_t e) const {
    if (!index_R_.defined()) return zero_tailed(source_SD_, e);
    if (planned(e) == count(e)) return at::index_select(source_SD_, 0, of(index_R_, e));
    Tensor rows = at::empty({planned(e), source_SD_.size(1)}, source_SD_.options());
    Tensor gathered = head(rows, e);
    at::index_select_out(gathered, source_SD_, 0, of(index_R_, e));
    clear_tail(rows, e);
    return rows;
  }
  /// The first M of P rows.
  Tensor head(const Tensor& rows, int64_t e) const { return rows.narrow(0, 0, count(e)); }
  void clear_tail(const Tensor& rows, int64_t e) const {
    if (planned(e) > count(e)) rows.slice(0, count(e)).zero_();
  }
  /// Zeroes the rows that belong to no expert.
  void clear_rest(const Tensor& values) const { values.slice(0, offsets_.back()).zero_(); }
  /// dL/dsource from dL/drow, in which the rows of no expert are zero.
  Tensor source_gradient(const Tensor& drow_RD) const {
    return index_R_.defined() ? scatter_add_rows(drow_RD, index_R_, source_SD_.size(0)) : drow_RD;
  }

 private:
  int64_t begin(int64_t e) const { return offsets_[static_cast<size_t>(e)]; }
  int64_t end(int64_t e) const { return offsets_[static_cast<size_t>(e) + 1]; }
  int64_t count(int64_t e) const { return end(e) - begin(e); }
  int64_t planned(int64_t e) const { return planned_rows(count(e), source_SD_); }

  Tensor source_SD_, index_R_;
  std::vector<int64_t> offsets_;
  int64_t rows_ = 0, padded_rows_ = 0;
};

/// rows += bias[e], if there is one.
inline void add_bias(Tensor rows_MO, const Tensor& bias_EO, int64_t e) {
  if (bias_EO.defined()) rows_MO.add_(bias_EO.select(0, e));
}

/// gradient[e] = a^T b, if there is a gradient.
inline void multiply_to(const Tensor& gradient_EOD, int64_t e, const Tensor& a_PO,
                        const Tensor& b_PD) {
  if (!gradient_EOD.defined()) return;
  Tensor gradient_OD = gradient_EOD.select(0, e);
  at::mm_out(gradient_OD, a_PO.t(), b_PD);
}

/// A gradient for an optional parameter, zero until its experts write theirs.
inline Tensor zeros_for(const Tensor& parameter) {
  return parameter.defined() ? at::zeros_like(parameter) : Tensor();
}

/// bias_gradient[e] = sum of the rows, if there is a bias.
inline void sum_bias(Tensor& dbias_EO, const Tensor& drows_MO, int64_t e) {
  if (dbias_EO.defined()) dbias_EO.select(0, e).copy_(drows_MO.sum(0));
}

/// libtorch's Function refuses undefined tensors; an empty optional says "not given".
inline std::optional<Tensor> given(const Tensor& value) {
  return value.defined() ? std::optional<Tensor>(value) : std::nullopt;
}

inline Tensor cast(const Tensor& parameter, at::ScalarType dtype) {
  return parameter.defined() ? parameter.to(dtype) : parameter;
}

/// Weights as products with rows of `source_SD` take them: a stack in the rows' type. The kernels
/// of the CPU, where they run the products, read float32 and bfloat16 beside each other.
inline ExpertTable in_type_of(const Tensor& source_SD, const ExpertTable& weights,
                              bool by_kernels) {
  const Tensor& stack = weights.stack();
  check(stack.defined() || source_SD.is_cpu(), "ops/grouped",
        "expected rows on the CPU, where the experts' weights stand, got some on ",
        source_SD.device(), ". Move them, or give the weights as a stack.");
  if (!stack.defined()) return weights;
  const bool kernels_read =
      by_kernels && (stack.scalar_type() == at::kFloat || stack.scalar_type() == at::kBFloat16);
  return kernels_read ? weights : cast(stack, source_SD.scalar_type());
}

}  // namespace moe::ops
