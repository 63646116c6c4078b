#pragma once
// The shortest time that a piece of work can take on this machine.

#include <optional>

#include <moe/ops/cpu/peak.h>

#include "tools/moe/common.h"

namespace moe::tools {

/// A time that no program can go below: the arithmetic at the measured peak of its type, or the
/// weights in use through the measured bandwidth, whichever takes longer.
struct Bound {
  ops::cpu::MachineLimits limits;
  /// FLOPs of the experts and the router over the peak.
  double compute_ms = 0;
  /// Bytes over the bandwidth.
  double memory_ms = 0;
  /// Weights of the experts in use that must move: once forward; in training once more backward,
  /// and their gradients are written.
  int64_t moved_bytes = 0;

  double ms() const { return compute_ms > memory_ms ? compute_ms : memory_ms; }
};

/// Nothing for a type whose peak was not measured and where the bandwidth could not be.
std::optional<Bound> bound_of(int64_t flops, int64_t weight_bytes, bool training,
                              at::ScalarType type, const ops::cpu::MachineLimits& limits);

/// Of the process, measured at the first call with the threads then in use.
const ops::cpu::MachineLimits& limits_of_this_machine();

/// `bound_ms`, `share_of_bound` (1: at the bound, 0.5: twice as long), `bound` and `limits`.
Json bound_json(const Bound& bound, double median_ms);
Json limits_json(const ops::cpu::MachineLimits& limits);

}  // namespace moe::tools
