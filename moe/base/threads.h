#pragma once
// Work divided among threads of its own. No neural network, no OpenMP.

#include <cstddef>
#include <cstdint>
#include <functional>

namespace moe {

/// Calls work(index, worker) once for every index in [0, count), on up to `threads` threads of
/// which the caller is one; workers are numbered from 0 and never two at a time have one number.
/// Indices begin in ascending order. Returns when all calls have; throws what the call of the
/// lowest index threw, and begins no further one then. `threads` below 2 calls in order, here.
void in_parallel(int64_t count, int64_t threads,
                 const std::function<void(int64_t index, size_t worker)>& work);

}  // namespace moe
