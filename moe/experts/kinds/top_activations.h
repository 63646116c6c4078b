#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Feed-forward experts, gated or not, of whose hidden units each row keeps the largest alone.
struct TopActivationsExpert {
  int64_t d_ff = 0;
  bool gated = true;
  double kept = 0.25;
  std::string activation = "silu";
  bool bias = false;
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("gated", gated, "of the form of `gated`; false: of `ffn`");
    v("kept", kept,
      "hidden units that a row keeps, those of the largest size: a share in (0, 1] of d_ff, or "
      "from 2 on their number");
    v("activation", activation, "relu, relu_squared, gelu (exact), gelu_tanh or silu");
    v("bias", bias, "add biases b_in and b_out");
    v("dropout", dropout, "share of hidden units dropped in training, in [0, 1)");
  }
  void validate(const std::string& place) const;
  operator ExpertSpec() const { return experts::expert_spec_of("top_activations", *this); }
};

}  // namespace moe
