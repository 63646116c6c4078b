#pragma once
// T tokens, E experts.

#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

#include <ATen/core/Tensor.h>

namespace moe {

/// Router logits (T, E) of the layers of one forward pass, which routers of later layers go on from
/// (MoE++'s gating residual). A layer that is computed again puts the same again.
class EarlierLogits {
 public:
  void put(int64_t layer, at::Tensor logits_TE) { of_layers_[layer] = std::move(logits_TE); }
  /// Those of the nearest layer before `layer`; undefined where none has put any.
  at::Tensor before(int64_t layer) const {
    const auto next = of_layers_.lower_bound(layer);
    return next == of_layers_.begin() ? at::Tensor() : std::prev(next)->second;
  }

 private:
  std::map<int64_t, at::Tensor> of_layers_;
};

}  // namespace moe
