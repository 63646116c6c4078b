#pragma once
// Where two dumps of named tensors (moe forward --out) first differ. No shape letters: tensors of
// any shape are compared.

#include <optional>
#include <string>
#include <vector>

#include <moe/base/files.h>

namespace moe::analyze {

/// One tensor of both dumps.
struct TensorDifference {
  std::string name;
  /// "" when the two can be compared; otherwise what keeps them from it: shapes, or where it is
  /// missing.
  std::string mismatch = {};
  /// Largest |a - b|, and the row-major index of it. A NaN on one side alone is infinitely far.
  double largest = 0;
  int64_t index = 0;
  double a = 0, b = 0;
  /// Elements with |a - b| > absolute + relative * |b|.
  int64_t beyond = 0, elements = 0;

  bool differs() const { return beyond > 0 || !mismatch.empty(); }
};

struct Tolerance {
  double absolute = 1e-5;
  double relative = 1e-4;
};

struct DumpDifference {
  /// In the order in which a forward and backward pass makes them: layers by their number, then
  /// other tensors, then gradients; within each in the order of the first file.
  std::vector<TensorDifference> tensors;
  /// Index of the first that differs.
  std::optional<size_t> first;
};

/// Compares two safetensors files. Throws moe::Error for files that are none, and for a tolerance
/// below 0.
DumpDifference compare_dumps(const Path& a, const Path& b, const Tolerance& tolerance = {});

}  // namespace moe::analyze
