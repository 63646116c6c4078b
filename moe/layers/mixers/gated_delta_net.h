#pragma once
// T tokens, D width, G key heads, H value heads, K key width, V value width, W width of the
// convolution.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "gated_delta_net" (Yang et al. 2025, as in Qwen3-Next): a head's memory S (K, V) of
/// keys and values decays and takes what it does not know yet,
///
///   S <- e^g S;  S <- S + k (beta (v - S^T k))^T;  o = S^T q,
///
/// with g = -e^a_log softplus(w_a x + dt_bias) and beta = sigmoid(w_b x), one number a value head;
/// q, k and v go through a causal convolution and silu, q and k to length 1, q is divided by
/// sqrt(K). Key head i serves the value heads i H/G ….
/// y = w_o (rmsnorm(o) norm.scale * silu(w_z x)).
///
/// Parameters w_q, w_k (G·K, D), w_v, w_z (H·V, D), w_a, w_b (H, D), conv (2G·K + H·V, W) over q,
/// k and v behind one another, dt_bias, a_log (H), norm.scale (V), w_o (D, H·V).
struct GatedDeltaNet {
  int64_t key_heads = 1;
  int64_t value_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  int64_t width = 4;
  std::string activation = "silu";

  template <class Visitor>
  void fields(Visitor& v) {
    v("key_heads", key_heads, "heads of queries and keys");
    v("value_heads", value_heads, "heads of values, a multiple of key_heads; 0: as many");
    v("key_dim", key_dim, "width of a query or key; 0: d_model / key_heads");
    v("value_dim", value_dim, "width of a value; 0: key_dim");
    v("width", width, "positions that the convolution sees, up to the token's own");
    v("activation", activation,
      "behind the convolution: relu, relu_squared, gelu, gelu_tanh or silu");
  }
  void validate(const std::string& place) const;
  /// Fills in what follows from the width of the tokens.
  void fill_in(int64_t d_model);
  /// Fills in value_heads.
  void resolve();

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("gated_delta_net", *this);
  }
};

}  // namespace moe
