// R rows, D width.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/parallel/row_format.h>

namespace moe::parallel {

namespace {

constexpr int64_t kScaleBytes = 4;

bool has_scale(RowFormat format) {
  return format == RowFormat::kFloat8 || format == RowFormat::kInt8;
}

double largest_of(RowFormat format) {
  return format == RowFormat::kInt8 ? 127 : 448;
}

at::ScalarType small_type(RowFormat format) {
  return format == RowFormat::kInt8 ? at::kChar : at::kFloat8_e4m3fn;
}

/// Whether rows of `type` change on their way.
bool changes(at::ScalarType type, RowFormat format) {
  if (format == RowFormat::kFull || !at::isFloatingType(type)) return false;
  return format != RowFormat::kBFloat16 || at::elementSize(type) > 2;
}

/// What a row is divided by; float32. Rows of zeros keep 1.
Tensor scales_of(const Tensor& rows_RD, RowFormat format) {
  const int64_t R = rows_RD.size(0);
  const auto floats = rows_RD.options().dtype(at::kFloat);
  if (rows_RD.numel() == 0) return at::zeros({R, 1}, floats);
  const Tensor scale_R1 =
      (rows_RD.abs().amax({1}, /*keepdim=*/true).to(at::kDouble) / largest_of(format))
          .to(at::kFloat);
  return at::where(scale_R1.eq(0), at::ones_like(scale_R1), scale_R1);
}

}  // namespace

RowFormat parse_row_format(const std::string& name, const std::string& option) {
  check_one_of("config", option, name, {"full", "bfloat16", "float8", "int8"});
  if (name == "bfloat16") return RowFormat::kBFloat16;
  if (name == "float8") return RowFormat::kFloat8;
  return name == "int8" ? RowFormat::kInt8 : RowFormat::kFull;
}

int64_t row_bytes(int64_t width, at::ScalarType type, RowFormat format) {
  if (!changes(type, format)) return width * static_cast<int64_t>(at::elementSize(type));
  return has_scale(format) ? width + kScaleBytes : 2 * width;
}

Tensor encoded_rows(const Tensor& rows_RD, RowFormat format) {
  const at::NoGradGuard no_grad;
  if (!changes(rows_RD.scalar_type(), format)) return rows_RD;
  if (!has_scale(format)) return rows_RD.to(at::kBFloat16);
  check(rows_RD.dim() == 2, "parallel/row_format", "expected rows of shape (R, D), got ",
        rows_RD.sizes(), ". Flatten them.");
  const Tensor scale_R1 = scales_of(rows_RD, format);
  Tensor scaled_RD =
      rows_RD.to(at::kDouble == rows_RD.scalar_type() ? at::kDouble : at::kFloat) / scale_R1;
  // The quotient may lie above by a rounding.
  scaled_RD.clamp_(-largest_of(format), largest_of(format));
  if (format == RowFormat::kInt8) scaled_RD.nan_to_num_(0).round_();
  return at::cat({scaled_RD.to(small_type(format)).view(at::kByte), scale_R1.view(at::kByte)}, 1);
}

Tensor decoded_rows(const Tensor& encoded, at::ScalarType type, RowFormat format) {
  const at::NoGradGuard no_grad;
  if (!changes(type, format)) return encoded;
  if (!has_scale(format)) return encoded.to(type);
  const int64_t D = encoded.size(1) - kScaleBytes;
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  // A copy, also of one row: there the bytes would lie at any address.
  const Tensor scale_R1 =
      encoded.narrow(1, D, kScaleBytes).clone(at::MemoryFormat::Contiguous).view(at::kFloat);
  const Tensor small_RD = encoded.narrow(1, 0, D).contiguous().view(small_type(format));
  return (small_RD.to(wide) * scale_R1.to(wide)).to(type);
}

}  // namespace moe::parallel
