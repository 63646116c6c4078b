#include <functional>

#include <ATen/Parallel.h>

#include <moe/formats/finite.h>

namespace moe::formats {

namespace {

/// Numbers whose exponent has all its bits set.
template <class Bits>
int64_t count_full_exponents(const at::Tensor& values, Bits exponent) {
  const at::Tensor plain = values.contiguous();
  const auto* const bits = static_cast<const Bits*>(plain.const_data_ptr());
  return at::parallel_reduce(
      int64_t{0}, plain.numel(), int64_t{1} << 16, int64_t{0},
      [&](int64_t begin, int64_t end, int64_t found) {
        for (int64_t i = begin; i < end; ++i) found += (bits[i] & exponent) == exponent ? 1 : 0;
        return found;
      },
      std::plus<>());
}

}  // namespace

int64_t count_not_finite(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kDouble:
      return count_full_exponents<uint64_t>(values, 0x7ff0000000000000);
    case at::kFloat:
      return count_full_exponents<uint32_t>(values, 0x7f800000);
    case at::kBFloat16:
      return count_full_exponents<uint16_t>(values, 0x7f80);
    case at::kHalf:
      return count_full_exponents<uint16_t>(values, 0x7c00);
    default:
      return 0;
  }
}

}  // namespace moe::formats
