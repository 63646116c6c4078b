// B rows, S columns, T real tokens.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/nonzero.h>

#include <moe/base/error.h>
#include <moe/flow/packing.h>

namespace moe {

namespace {

/// (first, second, rest…)
std::vector<int64_t> shape_of(std::vector<int64_t> first, at::IntArrayRef rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

}  // namespace

Packing::Packing(int64_t rows, int64_t columns)
    : rows_(rows), columns_(columns), sequences_(Sequences::equal(rows, columns)) {}

Packing::Packing(const Tensor& mask_BS) {
  check(mask_BS.dim() == 2 && mask_BS.scalar_type() == at::kBool, "flow/packing",
        "expected a mask of type Bool and shape (B, S), got ", mask_BS.scalar_type(), ' ',
        mask_BS.sizes(), ". Mark every real token with true.");
  rows_ = mask_BS.size(0);
  columns_ = mask_BS.size(1);
  if (mask_BS.all().item<bool>()) {
    sequences_ = Sequences::equal(rows_, columns_);
    return;
  }
  place_T_ = at::nonzero(mask_BS.flatten()).squeeze(1);
  const Tensor lengths_B = mask_BS.sum(1).to(at::kCPU).contiguous();
  const int64_t* lengths = lengths_B.const_data_ptr<int64_t>();
  sequences_ = Sequences::of_lengths({lengths, lengths + rows_});
}

Tensor Packing::place_T(at::Device device) const {
  if (place_T_.defined()) return place_T_.to(device);
  return at::arange(rows_ * columns_, at::TensorOptions(at::kLong).device(device));
}

Tensor Packing::pack(const Tensor& x) const {
  const bool flat = x.dim() >= 1 && x.size(0) == rows_ * columns_ &&
                    !(x.dim() >= 2 && x.size(0) == rows_ && x.size(1) == columns_);
  check(flat || (x.dim() >= 2 && x.size(0) == rows_ && x.size(1) == columns_), "flow/packing",
        "expected (B=", rows_, ", S=", columns_, ", …), got ", x.sizes(),
        ". Pass what the mask covers.");
  const Tensor all = flat ? x : x.flatten(0, 1);
  return place_T_.defined() ? all.index_select(0, place_T_.to(x.device())) : all;
}

Tensor Packing::unpack(const Tensor& y, double fill) const {
  check(y.dim() >= 1 && y.size(0) == sequences_.tokens(), "flow/packing", "expected ",
        sequences_.tokens(), " tokens, got ", y.sizes(),
        ". Pass what was computed of the packed tokens.");
  const auto rest = y.sizes().slice(1);
  if (!place_T_.defined()) return y.reshape(shape_of({rows_, columns_}, rest));
  const Tensor empty =
      at::full(shape_of({rows_ * columns_}, rest), fill, y.options().requires_grad(false));
  return at::index_put(empty, {place_T_.to(y.device())}, y).view(shape_of({rows_, columns_}, rest));
}

}  // namespace moe
