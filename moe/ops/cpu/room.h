#pragma once
// The CPU loops of ops/room.h. N pairs.

#include <moe/ops/room.h>

namespace moe::ops::cpu {

/// `claims` checked and contiguous; fills got_N (N,) int64.
void claim_room(const Claims& claims, Tensor& got_N);

}  // namespace moe::ops::cpu
