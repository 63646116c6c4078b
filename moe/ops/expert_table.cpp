// E experts.
#include <algorithm>

#include <ATen/ops/from_blob.h>
#include <torch/custom_class.h>

#include <moe/base/error.h>
#include <moe/ops/expert_table.h>

namespace moe::ops {

namespace {

constexpr const char* kPlace = "ops/expert_table";

at::ScalarType type_of(NumberFormat format) {
  return format == NumberFormat::kFloat32 ? at::kFloat : at::kBFloat16;
}

struct SavedTable : torch::CustomClassHolder {
  explicit SavedTable(ExpertTable held) : table(std::move(held)) {}
  ExpertTable table;
};

}  // namespace

ExpertTable::ExpertTable(int64_t rows, int64_t columns, std::vector<Matrix> matrices_E,
                         std::shared_ptr<const void> owner)
    : rows_(rows), columns_(columns), matrices_(std::move(matrices_E)), owner_(std::move(owner)) {
  check(rows > 0 && columns > 0 && !matrices_.empty(), kPlace,
        "expected matrices with rows and columns, got ", matrices_.size(), " of (", rows, ", ",
        columns, "). Give one an expert.");
  for (const Matrix& matrix : matrices_)
    check(!matrix.index && matrix.row_bytes % bytes_of(matrix.format) == 0 &&
              (rows == 1 || !matrix.data || matrix.row_bytes >= bytes_of(matrix.format, columns)),
          kPlace, "expected rows of ", columns, " whole numbers that do not overlap, got ",
          matrix.row_bytes, " bytes from one to the next. Correct the matrices.");
}

std::vector<int64_t> ExpertTable::sizes() const {
  if (stack_.defined()) return stack_.sizes().vec();
  return {static_cast<int64_t>(matrices_.size()), rows_, columns_};
}

std::vector<Matrix> ExpertTable::matrices() const {
  if (!stack_.defined()) return matrices_;
  const auto type = stack_.scalar_type();
  check(stack_.is_cpu() && stack_.is_contiguous() && (type == at::kFloat || type == at::kBFloat16),
        kPlace, "expected a contiguous stack in float32 or bfloat16 on the CPU, got ", type, " on ",
        stack_.device(), " with strides ", stack_.strides(), ". Convert it.");
  const auto format = type == at::kFloat ? NumberFormat::kFloat32 : NumberFormat::kBFloat16;
  const int64_t row_bytes = bytes_of(format, columns()), bytes = rows() * row_bytes;
  const auto* data = static_cast<const char*>(stack_.const_data_ptr());
  std::vector<Matrix> out;
  out.reserve(static_cast<size_t>(experts()));
  for (int64_t e = 0; e < experts(); ++e) out.push_back({format, data + e * bytes, row_bytes});
  return out;
}

Tensor ExpertTable::matrix(int64_t e, at::ScalarType type) const {
  if (stack_.defined()) return stack_.select(0, e).to(type);
  const Matrix& matrix = matrices_[static_cast<size_t>(e)];
  check(matrix.data != nullptr, kPlace, "expected the weights of expert ", e,
        ", which has rows, got none. Have the source hold the experts that have rows.");
  const auto stored = type_of(matrix.format);
  const int64_t stride = matrix.row_bytes / bytes_of(matrix.format);
  // from_blob takes no const pointer; nobody writes there.
  return at::from_blob(const_cast<void*>(matrix.data), {rows_, columns_}, {stride, 1},
                       at::TensorOptions(stored))
      .to(type);
}

c10::IValue saved_table(const ExpertTable& table) {
  if (table.is_stack()) return {};
  return c10::IValue::make_capsule(c10::make_intrusive<SavedTable>(table));
}

ExpertTable restored_table(const c10::IValue& saved, const Tensor& saved_stack) {
  if (saved.isNone()) return saved_stack;
  return c10::static_intrusive_pointer_cast<SavedTable>(saved.toCapsule())->table;
}

}  // namespace moe::ops
