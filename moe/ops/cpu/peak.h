#pragma once
// What the machine can do at most, measured.

#include <ATen/core/ScalarType.h>

namespace moe::ops::cpu {

/// GFLOP/s of multiply-adds in registers with the instructions of the kernels that run products of
/// `type` with many rows, on all of libtorch's threads at once; the best of some milliseconds. 0
/// for a type that has no kernels and where libtorch's products are in use.
double measured_peak(at::ScalarType type);

/// Limits of the machine, whatever kernels are in use, on all of libtorch's threads at once. 0 for
/// what the processor has no instruction for.
struct MachineLimits {
  /// GFLOP/s of float32 multiply-adds with the widest registers.
  double float32 = 0;
  /// GFLOP/s of the instruction that multiplies pairs of bfloat16 (vdpbf16ps).
  double bfloat16 = 0;
  /// 10^9 operations a second of the instruction that multiplies four int8 (AVX-512's vpdpbusd).
  double int8 = 0;
  /// 10^9 bytes a second, read in order from memory that no cache holds.
  double read = 0;

  /// GFLOP/s that products of `type` can reach; processors without a fast instruction for bfloat16
  /// widen it. 0 for types that were not measured.
  double peak(at::ScalarType type) const;
};

/// Measures the limits, the best of several passes: about a third of a second and at most 1 GiB.
/// What other programs compute meanwhile is missing in it.
MachineLimits measured_limits();

/// Memory that programs can still have without pushing others out: the system's MemAvailable; -1
/// where it does not say.
int64_t available_memory();

}  // namespace moe::ops::cpu
