#pragma once
// N sequences, E experts.

#include <memory>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/state.h>

namespace moe::layers {

using at::Tensor;

/// What a MoE layer remembers of earlier calls where capacity limits evaluation, and its shared
/// expert's state.
struct MoEState final : LayerState {
  /// (N, E) int64: slots that each sequence took of each expert so far.
  Tensor taken_NE;
  std::unique_ptr<LayerState> shared;

  void join(int64_t count) override {
    taken_NE = at::cat({taken_NE, at::zeros({count, taken_NE.size(1)}, taken_NE.options())});
    if (shared) shared->join(count);
  }
  void keep(const std::vector<int64_t>& slots) override {
    taken_NE = taken_NE.index_select(0, at::tensor(slots, at::kLong).to(taken_NE.device()));
    if (shared) shared->keep(slots);
  }
  int64_t bytes() const override {
    return static_cast<int64_t>(taken_NE.nbytes()) + (shared ? shared->bytes() : 0);
  }
};

}  // namespace moe::layers
