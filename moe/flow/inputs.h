#pragma once
// N images, C channels, H height, W width.

#include <moe/flow/sequences.h>

namespace moe {

/// What a model reads: tokens of text, or images.
struct ModelInputs {
  /// Text: ids and which of them belong together. An architecture for images makes its own from the pixels.
  TokenList tokens = {};
  /// (N, C, H, W) floating; undefined for text.
  Tensor pixels_NCHW = {};
};

}  // namespace moe
