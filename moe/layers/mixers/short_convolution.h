#pragma once
// T tokens, D width, K width of the convolution.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "short_convolution" (LFM2): [b; c; u] = w_in x, then y = w_o (c * conv(b * u)), with
/// a causal convolution of each number of the width for itself.
///
/// Parameters w_in (3D, D), conv (D, K) (the last column meets the token itself), w_o (D, D), and
/// b_in, conv_bias, b_o.
struct ShortConvolution {
  int64_t width = 3;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("width", width, "positions that the convolution sees, up to the token's own");
    v("bias", bias, "biases of both projections and of the convolution");
  }
  void validate(const std::string& place) const;

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("short_convolution", *this);
  }
};

}  // namespace moe
