#pragma once
// E experts.

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <moe/ops/matrix.h>

namespace moe::ops {

using at::Tensor;

/// The weights of E experts as products see them: for each expert a matrix (rows, columns),
/// wherever it stands and in whatever format.
///
/// Of a stack, one tensor (E, rows, columns), which may learn; or of matrices of their own, which
/// do not: gradients flow through them to what they are multiplied with, but not to them. These may
/// differ in format, and experts without rows in a call may lack theirs (data null).
class ExpertTable {
 public:
  ExpertTable() = default;
  /// Not explicit: a stack is a table.
  ExpertTable(Tensor stack) : stack_(std::move(stack)) {}
  /// Matrices in the memory of the CPU, not gathered. `owner` lives as long as the table and its
  /// copies, that of a backward pass among them.
  ExpertTable(int64_t rows, int64_t columns, std::vector<Matrix> matrices_E,
              std::shared_ptr<const void> owner = nullptr);

  bool defined() const { return stack_.defined() || !matrices_.empty(); }
  bool is_stack() const { return stack_.defined(); }
  /// Undefined where the weights are no stack.
  const Tensor& stack() const { return stack_; }
  /// {E, rows, columns}, or the sizes of a stack that has others.
  std::vector<int64_t> sizes() const;
  int64_t experts() const { return sizes()[0]; }
  int64_t rows() const { return sizes()[1]; }
  int64_t columns() const { return sizes()[2]; }

  /// A matrix for each expert. A stack must be contiguous, float32 or bfloat16, and on the CPU; it
  /// must outlive them.
  std::vector<Matrix> matrices() const;
  /// (rows, columns) of expert e in `type`: a view where it has that type already.
  Tensor matrix(int64_t e, at::ScalarType type) const;

 private:
  Tensor stack_;
  int64_t rows_ = 0, columns_ = 0;
  std::vector<Matrix> matrices_;
  std::shared_ptr<const void> owner_;
};

/// How autograd keeps a table: a stack among its saved tensors, where it notices changes in place;
/// others as this value, which is none for a stack.
c10::IValue saved_table(const ExpertTable& table);
/// The table again.
ExpertTable restored_table(const c10::IValue& saved, const Tensor& saved_stack);

}  // namespace moe::ops
