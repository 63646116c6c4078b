#pragma once

#include <cstdint>
#include <string>

#include <moe/base/error.h>

namespace moe::experts {

/// What options of all kinds of experts have in common; the structs themselves are flat, so that
/// users name each option directly: moe::FfnExpert{.bias = true}. Only defaults differ by kind.
struct FeedForwardOptions {
  std::string activation = "gelu";
  bool bias = false;
  double dropout = 0;
  bool recompute = false;

  template <class Options>
  static FeedForwardOptions of(const Options& o) {
    return {o.activation, o.bias, o.dropout, o.recompute};
  }

  void validate(const std::string& place) const {
    check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '",
                       place.empty() ? "dropout" : concat(place, ".dropout"), "' in [0, 1), got ",
                       dropout, ". Correct it.");
  }
};

/// The fields of such options.
template <class Options, class Visitor>
void feed_forward_fields(Options& o, Visitor& v) {
  v("activation", o.activation, "relu, relu_squared, gelu (exact), gelu_tanh or silu");
  v("bias", o.bias, "add biases b_in and b_out");
  v("dropout", o.dropout, "share of hidden units dropped in training, in [0, 1)");
  v("recompute", o.recompute,
    "compute the pre-activations again in the backward pass instead of keeping them");
}

}  // namespace moe::experts
