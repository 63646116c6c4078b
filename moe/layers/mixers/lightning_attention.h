#pragma once
// T tokens, D width, H heads, P head width.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "lightning_attention" (MiniMax-01, 2025): linear attention with a fixed decay,
///
///   S <- e^-r S + k v^T;  o = S^T q,  r_h = decay 2^(-8 (h + 1) / H) for h = 0 … H-1,
///
/// of [q; k; v] = silu(w x); y = w_o (rmsnorm(o) norm.scale * sigmoid(w_gate x)), the norm over
/// all heads.
///
/// Parameters w_q, w_k, w_v, w_gate (H·P, D), norm.scale (H·P), w_o (D, H·P).
struct LightningAttention {
  int64_t heads = 1;
  int64_t head_dim = 0;
  double decay = 1;
  std::string activation = "silu";
  double norm_epsilon = 1e-6;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads");
    v("head_dim", head_dim, "width of a query, key or value; 0: d_model / heads");
    v("decay", decay,
      "factor of the decay rates (MiniMax: 1 - i / (L - 1 + 1e-5) + 1e-5 in layer i of L)");
    v("activation", activation,
      "of queries, keys and values: relu, relu_squared, gelu, gelu_tanh or silu");
    v("norm_epsilon", norm_epsilon, "added to the mean square of the output's norm");
  }
  void validate(const std::string& place) const;
  /// Fills in what follows from the width of the tokens.
  void fill_in(int64_t d_model);

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("lightning_attention", *this);
  }
};

}  // namespace moe
