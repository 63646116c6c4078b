#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::data {

/// The whole numbers in `x`, in its order.
inline std::vector<int64_t> numbers_of(const at::Tensor& x) {
  const at::Tensor plain = x.to(at::kLong).contiguous();
  const auto* first = plain.const_data_ptr<int64_t>();
  return {first, first + plain.numel()};
}

}  // namespace moe::data
