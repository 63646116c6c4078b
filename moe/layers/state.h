#pragma once
// What layers remember of sequences that go on in later calls.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::layers {

/// What one layer remembers of the sequences of a running batch: keys and values, compressed
/// latents, a window, a recurrent state, how many tokens its experts took. Sequences have their own
/// lengths; slot n belongs to sequence n of the next call.
class LayerState {
 public:
  virtual ~LayerState() = default;
  /// Empty slots for `count` new sequences behind those there are.
  virtual void join(int64_t count) = 0;
  /// Keeps these slots, in this order.
  virtual void keep(const std::vector<int64_t>& slots) = 0;
  virtual int64_t bytes() const = 0;
};

/// How much a state must hold, and as what.
struct StateShape {
  /// Positions of one sequence, at most.
  int64_t capacity = 0;
  at::TensorOptions tensors = {};
};

}  // namespace moe::layers
