#pragma once
// T tokens, D width, H heads, P head width, W width of the convolutions.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "kimi_delta_attention" (Kimi Linear, 2025): the delta rule of gated_delta_net with a
/// decay g of every key number, -e^a_log softplus(w_f_b w_f_a x + dt_bias), a convolution for each
/// of q, k and v, and y = w_o (rmsnorm(o) norm.scale * sigmoid(w_g_b w_g_a x)).
///
/// Parameters w_q, w_k, w_v (H·P, D), q_conv, k_conv, v_conv (H·P, W), w_f_a, w_g_a (P, D), w_f_b,
/// w_g_b (H·P, P), w_b (H, D), dt_bias (H·P), a_log (H), norm.scale (P), w_o (D, H·P).
struct KimiDeltaAttention {
  int64_t heads = 1;
  int64_t head_dim = 0;
  int64_t width = 4;
  std::string activation = "silu";

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads");
    v("head_dim", head_dim, "width of a query, key or value; 0: d_model / heads");
    v("width", width, "positions that the convolutions see, up to the token's own");
    v("activation", activation,
      "behind the convolutions: relu, relu_squared, gelu, gelu_tanh or silu");
  }
  void validate(const std::string& place) const;
  /// Fills in what follows from the width of the tokens.
  void fill_in(int64_t d_model);

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("kimi_delta_attention", *this);
  }
};

}  // namespace moe
