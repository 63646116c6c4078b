#pragma once
// The weights of experts as tables of matrices: of one stack, or scattered over memory of their own
// between forbidden pages.

#include <memory>
#include <tests/reference/expert_mlp.h>
#include <tests/support/guarded.h>
#include <vector>

#include <moe/ops/matrix.h>

namespace moe::test {

/// A matrix (rows, columns) for each expert in one stack.
template <class T>
std::vector<ops::Matrix> stacked_matrices(const T* stack, int64_t experts, int64_t rows,
                                          int64_t columns) {
  std::vector<ops::Matrix> out;
  for (int64_t e = 0; e < experts; ++e)
    out.push_back({ops::cpu::kFormatOf<T>, stack + e * rows * columns,
                   columns * static_cast<int64_t>(sizeof(T))});
  return out;
}

/// Copies of them, each in memory of its own.
class ScatteredMatrices {
 public:
  /// Another expert's weights: rounded to `format`, `padding` numbers between its rows.
  void add(const ops::Matrix& source, int64_t rows, int64_t columns, ops::NumberFormat format,
           int64_t padding) {
    if (format == ops::NumberFormat::kFloat32)
      add<float>(float32_, source, rows, columns, padding);
    else
      add<ops::cpu::BFloat16>(bfloat16_, source, rows, columns, padding);
  }
  /// An expert that is not there.
  void add_none() { matrices_.push_back({}); }

  const std::vector<ops::Matrix>& matrices() const { return matrices_; }

 private:
  template <class T>
  using Memory = std::vector<std::unique_ptr<Guarded<T>>>;

  template <class T>
  void add(Memory<T>& memory, const ops::Matrix& source, int64_t rows, int64_t columns,
           int64_t padding) {
    const int64_t stride = columns + padding;
    const bool at_start = memory.size() % 2 == 0;
    auto& values = *memory.emplace_back(
        std::make_unique<Guarded<T>>(static_cast<size_t>((rows - 1) * stride + columns), at_start));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        values[static_cast<size_t>(r * stride + c)] =
            reference::stored<T>(reference::number_at(source, r, c));
    matrices_.push_back(
        {ops::cpu::kFormatOf<T>, values.data(), stride * static_cast<int64_t>(sizeof(T))});
  }

  std::vector<ops::Matrix> matrices_;
  Memory<float> float32_;
  Memory<ops::cpu::BFloat16> bfloat16_;
};

}  // namespace moe::test
