#pragma once
// B batch, C capacity, H key-value heads, P head width.

#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::layers {

using at::Tensor;

/// Keys and values of one attention layer for the positions seen so far. Owned by whoever
/// generates; models stay const.
struct KeyValueCache {
  /// (B, C, H, P); only the first `length` positions hold something.
  Tensor key_BCHP, value_BCHP;
  int64_t length = 0;
};

/// One cache a layer. All layers have the same length.
struct DecoderState {
  std::vector<KeyValueCache> layers;

  int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

}  // namespace moe::layers
