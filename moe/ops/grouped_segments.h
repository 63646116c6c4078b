#pragma once
// S source rows, R rows, M rows of one expert, E experts, D in.

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>

#include <moe/ops/rows.h>

namespace moe::ops {

/// Lazy rows cut into one segment an expert; the shared part of the grouped operations.
class Segments {
 public:
  Segments(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E)
      : source_SD_(source_SD), index_R_(index_R) {
    const Tensor host = offsets_E.to(at::kCPU).contiguous();
    const int64_t* first = host.const_data_ptr<int64_t>();
    offsets_.assign(first, first + host.size(0));
    rows_ = index_R.defined() ? index_R.size(0) : source_SD.size(0);
  }

  int64_t rows() const { return rows_; }
  int64_t experts() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  bool empty(int64_t e) const { return begin(e) == end(e); }
  /// The rows of expert e within a tensor that has a row for each of R.
  Tensor of(const Tensor& values, int64_t e) const { return values.slice(0, begin(e), end(e)); }
  /// The (M, D) input rows of expert e, gathered if need be.
  Tensor input(int64_t e) const {
    return index_R_.defined() ? at::index_select(source_SD_, 0, of(index_R_, e))
                              : of(source_SD_, e);
  }
  /// Zeroes the rows that belong to no expert.
  void clear_rest(Tensor values) const { values.slice(0, offsets_.back()).zero_(); }
  /// dL/dsource from dL/drow, in which the rows of no expert are zero.
  Tensor source_gradient(const Tensor& drow_RD) const {
    return index_R_.defined() ? scatter_add_rows(drow_RD, index_R_, source_SD_.size(0)) : drow_RD;
  }

 private:
  int64_t begin(int64_t e) const { return offsets_[static_cast<size_t>(e)]; }
  int64_t end(int64_t e) const { return offsets_[static_cast<size_t>(e) + 1]; }

  Tensor source_SD_, index_R_;
  std::vector<int64_t> offsets_;
  int64_t rows_;
};

/// rows += bias[e], if there is one.
inline void add_bias(Tensor rows_MO, const Tensor& bias_EO, int64_t e) {
  if (bias_EO.defined()) rows_MO.add_(bias_EO.select(0, e));
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

}  // namespace moe::ops
