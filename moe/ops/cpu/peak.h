#pragma once
// What the processor can do at most, measured.

#include <ATen/core/ScalarType.h>

namespace moe::ops::cpu {

/// GFLOP/s of multiply-adds in registers with the instructions of the kernels in use, on all of
/// libtorch's threads at once; the best of some milliseconds. 0 for a type that has no kernels and
/// when libtorch's products are in use.
double measured_peak(at::ScalarType type);

}  // namespace moe::ops::cpu
