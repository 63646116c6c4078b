#pragma once

#include <cstdint>
#include <string>

#include <moe/base/fields.h>

namespace moe::experts {

/// Settings of feed-forward blocks, as experts and dense alike; only the default activation differs
/// by kind.
struct FeedForwardOptions {
  std::string activation = "gelu";
  bool bias = false;
  double dropout = 0;
  bool recompute = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("activation", activation, "relu, relu_squared, gelu (exact), gelu_tanh or silu");
    v("bias", bias, "add biases b_in and b_out");
    v("dropout", dropout, "share of hidden units dropped in training, in [0, 1)");
    v("recompute", recompute,
      "compute the pre-activations again in the backward pass instead of keeping them");
  }

  void validate(const std::string& place) const {
    check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '",
                       detail::dotted(place, "dropout"), "' in [0, 1), got ", dropout,
                       ". Lower it.");
  }
};

/// As FeedForwardOptions, with the activation of SwiGLU.
struct GatedOptions : FeedForwardOptions {
  GatedOptions() { activation = "silu"; }
};

}  // namespace moe::experts
