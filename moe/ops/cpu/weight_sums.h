#pragma once
// Gradients of stacked weights as float32 sums, where they stand from one pass to the next. E
// experts.

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// What the memory of one expert's gradient holds.
enum class SumState : uint8_t {
  kZero,   ///< zeros
  kLive,   ///< its gradient so far
  kStale,  ///< anything
};

/// The gradient (E, …) of one weight. A pass adds to experts that are live and writes those that
/// are not, if they get rows; if they get none it clears what is stale and leaves all else alone.
/// The states say so afterwards. `kernels` belong to the same set as those of the products.
struct WeightSums {
  float* sums = nullptr;
  SumState* state_E = nullptr;
  const ProductKernels<float>* kernels = nullptr;
};

}  // namespace moe::ops::cpu
