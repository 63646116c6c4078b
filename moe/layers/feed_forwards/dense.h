#pragma once

#include <moe/layers/feed_forward.h>

namespace moe {

/// The dense feed-forward block: w_out act(w_in x), or gated w_out (act(g) * u) with [g; u] = w_in
/// x.
struct Dense {
  int64_t d_ff = 0;
  std::string form = "gated";
  std::string activation = "";
  bool bias = false;
  bool gate = false;
  double dropout = 0;
  bool recompute = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("d_ff", d_ff, "hidden units; 0: 4 d_model");
    v("form", form, "gated (SwiGLU and its like) or ffn (two matrices)");
    v("activation", activation,
      "relu, relu_squared, gelu (exact), gelu_tanh or silu; empty: silu for gated, gelu for ffn");
    v("bias", bias, "add biases b_in and b_out");
    v("gate", gate, "multiply the output by sigmoid(w_gate x) (Qwen's shared expert)");
    v("dropout", dropout, "share of hidden units dropped in training, in [0, 1)");
    v("recompute", recompute,
      "compute the pre-activations again in the backward pass instead of keeping them");
  }
  void validate(const std::string& place) const;
  /// Fills in the activation.
  void resolve();

  operator layers::FeedForwardSpec() const {
    return spec_of<layers::FeedForwardSpec>("dense", *this);
  }
};

}  // namespace moe
