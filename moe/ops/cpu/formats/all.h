#pragma once
// The formats of numbers that products read, in the order of moe::ops::NumberFormat. In an unnamed
// namespace: see simd/avx512.h.

#include <moe/ops/cpu/formats/bfloat16.h>
#include <moe/ops/cpu/formats/float32.h>

namespace moe::ops::cpu {

namespace {

template <class... Each>
struct FormatList {};

/// Every format, widened to float32 as it is packed.
using WidenedFormats = FormatList<Float32Format, BFloat16Format>;

}  // namespace

}  // namespace moe::ops::cpu
