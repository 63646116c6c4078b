#pragma once
// T tokens, D width, H heads, P head width, I = H·P, G groups, S numbers of state for each number
// of a head, W width of the convolution.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "mamba2" (Dao and Gu 2024, as in Granite 4): [z; u; t] = w_in x, [x; b; c] =
/// silu(conv(u)), and each head has a state s (P, S),
///
///   s <- e^(dt A) s + dt x b^T;  y = s c + d x,  dt = softplus(t + dt_bias),  A = -e^a_log,
///
/// where the heads of a group share b and c. Output w_o (rmsnorm(y * silu(z)) norm_scale), the norm
/// over the channels of each of norm_groups groups.
///
/// Parameters w_in (2I + 2G·S + H, D), conv (I + 2G·S, W), conv_bias, dt_bias, a_log, d (H),
/// norm_scale (I), w_o (D, I), and b_in, b_o.
struct Mamba2 {
  int64_t heads = 1;
  int64_t head_dim = 0;
  int64_t state = 128;
  int64_t groups = 1;
  int64_t norm_groups = 0;
  int64_t width = 4;
  std::string activation = "silu";
  bool conv_bias = true;
  bool bias = false;
  double least_step = 0;
  double largest_step = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads");
    v("head_dim", head_dim, "channels of a head; 0: 2 d_model / heads");
    v("state", state, "numbers of state a channel");
    v("groups", groups, "groups of neighbouring heads that share inputs and outputs of the state");
    v("norm_groups", norm_groups,
      "groups of channels that are normalised apart; 0: groups; 1: all channels together "
      "(Granite)");
    v("width", width, "positions that the convolution sees, up to the token's own");
    v("activation", activation,
      "behind the convolution: relu, relu_squared, gelu, gelu_tanh or silu");
    v("conv_bias", conv_bias, "bias of the convolution");
    v("bias", bias, "biases of the first and the last projection");
    v("least_step", least_step, "step sizes are at least this");
    v("largest_step", largest_step, "step sizes are at most this; 0: no limit");
  }
  void validate(const std::string& place) const;
  /// Fills in what follows from the width of the tokens.
  void fill_in(int64_t d_model);

  operator layers::MixerSpec() const { return spec_of<layers::MixerSpec>("mamba2", *this); }
};

}  // namespace moe
