#pragma once
// The CPU loops of ops/slots.h. N pairs.

#include <moe/ops/slots.h>

namespace moe::ops::cpu {

/// `requests` checked and contiguous; fills slot_N (N,) int64.
void assign_slots(const SlotRequests& requests, Tensor& slot_N);

}  // namespace moe::ops::cpu
