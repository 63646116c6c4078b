#pragma once
// T tokens, D width, I = expand · D channels, S numbers of state a channel, R width of the step
// sizes, W width of the convolution.

#include <string>

#include <moe/layers/mixer.h>

namespace moe {

/// The mixer "mamba" (Gu and Dao 2023): [x; z] = w_in x, x <- silu(conv(x)), [r; b; c] = w_x x;
/// every channel has a step dt = softplus(w_dt r + b_dt) and a state of S numbers,
///
///   s <- e^(dt A) * s + dt x b;  y = s · c + d x,  A = -e^a_log,
///
/// and the output is w_o (y * silu(z)). With norms (Jamba) r, b and c are RMS-normalised first.
///
/// Parameters w_in (2I, D), conv (I, W), conv_bias (I), w_x (R + 2S, I), dt_norm.scale (R),
/// b_norm.scale, c_norm.scale (S), w_dt (I, R), b_dt (I), a_log (I, S), d (I), w_o (D, I), and
/// b_in, b_o.
struct Mamba {
  int64_t expand = 2;
  int64_t state = 16;
  int64_t step_rank = 0;
  int64_t width = 4;
  std::string activation = "silu";
  bool conv_bias = true;
  bool bias = false;
  bool norms = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("expand", expand, "channels are d_model times this");
    v("state", state, "numbers of state a channel");
    v("step_rank", step_rank, "width from which step sizes are made; 0: d_model / 16, rounded up");
    v("width", width, "positions that the convolution sees, up to the token's own");
    v("activation", activation,
      "behind the convolution (the gate is SiLU's): relu, relu_squared, gelu, gelu_tanh or silu");
    v("conv_bias", conv_bias, "bias of the convolution");
    v("bias", bias, "biases of the first and the last projection");
    v("norms", norms, "RMSNorms of step sizes, inputs and outputs of the state (Jamba)");
  }
  void validate(const std::string& place) const;
  /// Fills in what follows from the width of the tokens.
  void fill_in(int64_t d_model);

  operator layers::MixerSpec() const { return spec_of<layers::MixerSpec>("mamba", *this); }
};

}  // namespace moe
