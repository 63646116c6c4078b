#pragma once
// N images, C channels, H height, W width.

#include <moe/flow/sequences.h>

namespace moe {

/// What a model reads: tokens of text, or images.
struct ModelInputs {
  /// Text: ids and which of them belong together. An architecture for images makes its own from the
  /// pixels.
  TokenList tokens = {};
  /// (N, C, H, W) floating; undefined for text.
  Tensor pixels_NCHW = {};

  /// The same with its tensors on `device`.
  ModelInputs to(at::Device device) const {
    const auto moved = [&](const Tensor& x) { return x.defined() ? x.to(device) : x; };
    ModelInputs out = *this;
    out.tokens.ids_T = moved(tokens.ids_T);
    out.tokens.domains_T = moved(tokens.domains_T);
    out.pixels_NCHW = moved(pixels_NCHW);
    return out;
  }
};

}  // namespace moe
