#pragma once
// N images, C channels, H height, W width.

#include <moe/flow/sequences.h>

namespace moe {

/// What a model reads: tokens of text, or images.
struct ModelInputs {
  /// Text: ids and which of them belong together. An architecture for images makes its own from the
  /// pixels.
  TokenList tokens = {};
  /// Text of encoder-decoders: what the decoder reads, as many sequences as `tokens` has, which
  /// the encoder reads. Beside a state of generation `tokens` has sequences of no token where the
  /// encoder's were read before.
  TokenList decoder = {};
  /// (N, C, H, W) floating; undefined for text.
  Tensor pixels_NCHW = {};

  /// The same with its tensors on `device`.
  ModelInputs to(at::Device device) const {
    const auto moved = [&](const Tensor& x) { return x.defined() ? x.to(device) : x; };
    ModelInputs out = *this;
    for (TokenList* list : {&out.tokens, &out.decoder}) {
      list->ids_T = moved(list->ids_T);
      list->domains_T = moved(list->domains_T);
    }
    out.pixels_NCHW = moved(pixels_NCHW);
    return out;
  }
};

}  // namespace moe
