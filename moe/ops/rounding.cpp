#include <ATen/TensorOperators.h>
#include <ATen/ops/ceil.h>
#include <ATen/ops/floor.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>

#include <moe/base/error.h>
#include <moe/ops/rounding.h>

namespace moe::ops {

const std::vector<std::string>& rounding_modes() {
  static const std::vector<std::string> modes = {"ceil", "floor", "nearest"};
  return modes;
}

Tensor rounded(const Tensor& values, const std::string& mode) {
  check_one_of("ops/rounded", "mode", mode, rounding_modes());
  const Tensor nearest = at::round(values);
  if (mode == "nearest") return nearest;
  const Tensor meant = (values - nearest).abs().le(nearest.abs().clamp_min(1) * 1e-9);
  return at::where(meant, nearest, mode == "ceil" ? at::ceil(values) : at::floor(values));
}

}  // namespace moe::ops
