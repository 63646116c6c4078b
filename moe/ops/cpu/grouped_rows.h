#pragma once
// Tensors as the loops of expert_mlp.h take them. S source rows, R rows, E experts.

#include <algorithm>
#include <optional>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/expert_table.h>
#include <moe/ops/rows.h>

namespace moe::ops::cpu {

inline constexpr const char* kPlaceOfKernels = "ops/grouped";

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

inline Tensor dense(const Tensor& tensor) {
  return tensor.defined() ? tensor.contiguous() : tensor;
}

/// Memory for dL/dparameter; undefined where it is not wanted.
inline Tensor gradient_of(const Tensor& parameter) {
  return parameter.defined() && parameter.requires_grad()
             ? at::empty_like(parameter, at::MemoryFormat::Contiguous)
             : Tensor();
}

/// Rows that an active expert, one with rows, has on average; 0 where none is. offsets_E is int64,
/// contiguous and on the CPU.
inline int64_t rows_an_expert(const Tensor& offsets_E) {
  const auto* const offset = read<int64_t>(offsets_E);
  int64_t active = 0, rows = 0;
  for (int64_t e = 0; e + 1 < offsets_E.numel(); ++e) {
    const int64_t here = offset[e + 1] - offset[e];
    active += here > 0 ? 1 : 0;
    rows += here;
  }
  return active > 0 ? rows / active : 0;
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
    check(offset[0] == 0 && std::is_sorted(offset, offset + E + 1) && held() <= count(),
          kPlaceOfKernels, "expected offsets that rise from 0 to at most ", count(),
          " rows, got others. Sort rows by expert.");
    if (!index_R.defined()) return;
    const int64_t* index = read<int64_t>(index_R);
    const int64_t S = source_SD.size(0);
    check(std::all_of(index, index + held(), [S](int64_t i) { return 0 <= i && i < S; }),
          kPlaceOfKernels, "expected row numbers in [0, ", S, "), got others. Check the index.");
  }

  /// How many rows belong to an expert; they come first.
  int64_t held() const { return experts().offsets_E[experts().count]; }
  int64_t count() const { return index_R.defined() ? index_R.size(0) : source_SD.size(0); }
  Tensor result(int64_t width) const { return at::empty({count(), width}, source_SD.options()); }
  Experts experts() const { return {offsets_E.size(0) - 1, read<int64_t>(offsets_E)}; }
  /// The loops for products of so many rows an expert.
  template <class T>
  const Kernels& kernels() const {
    return cpu::kernels(kProductOf<T>, rows_an_expert(offsets_E));
  }
  template <class T>
  RowsOf<T> rows() const {
    return {read<T>(source_SD), source_SD.size(1), read<int64_t>(index_R)};
  }

  /// dL/dsource from dL/drow, whose rows of no expert are still undefined.
  Tensor source_gradient(const Tensor& drow_RD) const {
    if (!drow_RD.defined()) return drow_RD;
    drow_RD.slice(0, held()).zero_();
    return index_R.defined() ? scatter_add_rows(drow_RD, index_R, source_SD.size(0)) : drow_RD;
  }
};

inline void check_bias(const Tensor& bias, const ExpertTable& weights, const char* name) {
  const std::vector<int64_t> expected = {weights.experts(), weights.rows()};
  check(!bias.defined() || bias.sizes() == expected, kPlaceOfKernels, "expected ", name,
        " of shape ", at::IntArrayRef(expected), ", got ",
        bias.defined() ? bias.sizes() : at::IntArrayRef(),
        ". Give one number a row of the weights.");
}

/// The weights as products with rows of `type` read them: a contiguous stack, rounded to that type
/// unless it is narrower already; matrices of their own as they are.
inline ExpertTable as_kernels_read(const ExpertTable& weights, at::ScalarType type) {
  const Tensor& stack = weights.stack();
  if (!stack.defined()) return weights;
  const bool narrower = stack.scalar_type() == at::kBFloat16 && type == at::kFloat;
  if (!narrower && stack.scalar_type() != type) return stack.detach().to(type).contiguous();
  return stack.is_contiguous() ? stack : stack.detach().contiguous();
}

/// Their matrices, of which those of active experts, which have rows, must be there.
inline std::vector<Matrix> matrices_of(const ExpertTable& weights, const Experts& experts) {
  auto out = weights.matrices();
  for (int64_t e = 0; e < experts.count; ++e)
    check(experts.rows(e) == 0 || out[static_cast<size_t>(e)].data, kPlaceOfKernels,
          "expected the weights of expert ", e,
          ", which has rows, got none. Have the source hold the experts that have rows.");
  return out;
}

/// In saved_data: the type of the gradient that a stack wants; nothing where it wants none.
inline void save_gradient_type(torch::autograd::AutogradContext* ctx, const char* name,
                               const std::optional<Tensor>& stack) {
  if (stack && stack->requires_grad()) ctx->saved_data[name] = stack->scalar_type();
}

/// Memory for such a gradient; undefined where none is wanted.
inline Tensor gradient_of(torch::autograd::AutogradContext* ctx, const char* name,
                          const ExpertTable& weights) {
  const auto saved = ctx->saved_data.find(name);
  if (saved == ctx->saved_data.end()) return {};
  return at::empty(weights.sizes(), at::TensorOptions(saved->second.toScalarType()));
}

inline WeightGradient as_kernels_write(const Tensor& gradient) {
  if (!gradient.defined()) return {};
  return {gradient.mutable_data_ptr(),
          gradient.scalar_type() == at::kFloat ? NumberFormat::kFloat32 : NumberFormat::kBFloat16};
}

}  // namespace moe::ops::cpu
