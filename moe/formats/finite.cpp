#include <algorithm>
#include <functional>

#include <ATen/Parallel.h>

#include <moe/formats/finite.h>

namespace moe::formats {

namespace {

/// Numbers of [begin, end) whose exponent has all its bits set. Most pieces have none, which is
/// quicker to tell than to count: the loop without a sum keeps to vectors of Bits.
template <class Bits>
int64_t count_in(const Bits* begin, const Bits* end, Bits exponent) {
  constexpr int64_t kPiece = 4096;
  int64_t found = 0;
  while (begin < end) {
    const Bits* const stop = begin + std::min<int64_t>(kPiece, end - begin);
    Bits any = 0;
    for (const Bits* at = begin; at < stop; ++at)
      any |= static_cast<Bits>((*at & exponent) == exponent);
    if (any != 0)
      found += std::count_if(begin, stop, [&](Bits b) { return (b & exponent) == exponent; });
    begin = stop;
  }
  return found;
}

template <class Bits>
int64_t count_full_exponents(const at::Tensor& values, Bits exponent) {
  // Their order in memory does not matter.
  const at::Tensor plain = values.is_non_overlapping_and_dense() ? values : values.contiguous();
  const auto* const bits = static_cast<const Bits*>(plain.const_data_ptr());
  return at::parallel_reduce(
      int64_t{0}, plain.numel(), int64_t{1} << 16, int64_t{0},
      [&](int64_t begin, int64_t end, int64_t found) {
        return found + count_in(bits + begin, bits + end, exponent);
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
