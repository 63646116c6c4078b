#pragma once
// R rows of a table, T tokens, W numbers of a head that turn.

#include <string>
#include <vector>

#include <moe/flow/sequences.h>
#include <moe/ops/rope.h>

namespace moe {

/// Rotary positions of queries and keys: number pair i of a head turns by position · f_i, with
/// f_i = theta^(-2i/W) unless `scaling` changes it for contexts longer than those of the training.
/// Frequencies are computed in float64.
struct Rope {
  std::string kind = "halves";
  double theta = 10000;
  double share = 1;
  std::string scaling = "none";
  double factor = 1;
  int64_t original_length = 0;
  double attention_factor = 0;
  // yarn
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
  double mscale = 0;
  double mscale_all_dim = 0;
  // llama3
  double low_frequency_factor = 1;
  double high_frequency_factor = 4;
  // longrope
  std::vector<double> short_factors = {};
  std::vector<double> long_factors = {};
  double short_mscale = 0;
  double long_mscale = 0;
  // dynamic
  double alpha = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind,
      "which numbers of a head turn together: halves (i and i + width/2: Llama), interleaved (2i "
      "and 2i + 1: GPT-J) or none (no positions)");
    v("theta", theta, "base of the wavelengths");
    v("share", share, "share of a head's numbers that turns, the first ones");
    v("scaling", scaling,
      "frequencies for longer contexts: none; linear (all divided by factor); dynamic (a base that "
      "grows with the sequence); yarn (slow ones divided by factor, a ramp between); llama3 (slow "
      "ones divided by factor, by wavelength); longrope (divided one by one, by two lists); "
      "proportional (those of the whole head divided by factor, of which the first turn)");
    v("factor", factor, "how much longer the context is");
    v("original_length", original_length, "positions of the training before; 0: not known");
    v("attention_factor", attention_factor,
      "cosines and sines are multiplied by it; 0: what the scaling says");
    v("beta_fast", beta_fast, "yarn: turns over the original length, above which nothing changes");
    v("beta_slow", beta_slow, "yarn: turns below which frequencies are divided by factor");
    v("truncate", truncate, "yarn: the ends of the ramp are whole numbers");
    v("mscale", mscale, "yarn: strength of the attention factor; 0: 1");
    v("mscale_all_dim", mscale_all_dim,
      "yarn: strength of the factor on scores of latent attention; 0: not given");
    v("low_frequency_factor", low_frequency_factor,
      "llama3: wavelengths above original_length / this are divided by factor");
    v("high_frequency_factor", high_frequency_factor,
      "llama3: wavelengths below original_length / this stay");
    v("short_factors", short_factors,
      "longrope: divisors of the frequencies in sequences up to the original length");
    v("long_factors", long_factors, "longrope: divisors in longer sequences");
    v("short_mscale", short_mscale,
      "longrope: factor on cosines and sines in short sequences; 0: attention_factor");
    v("long_mscale", long_mscale, "longrope: factor in long sequences; 0: attention_factor");
    v("alpha", alpha,
      "dynamic: the base is theta · alpha^(W/(W-2)) at every length (Hunyuan); 0: it grows with "
      "the length");
  }
  void validate(const std::string& place) const;
};

}  // namespace moe

namespace moe::layers {

/// How many of a head's `width` numbers turn, the first ones; 0: none.
int64_t turning_width(const Rope& rope, int64_t width);

/// The table for the tokens of `sequences`, whose heads of `width` numbers, type and device `like`
/// turn by `rope`. Throws moe::Error where no even number of them turns.
///
/// Scalings that depend on how long a sequence is (dynamic, longrope) look at each sequence's end
/// so far: tokens turn as in a pass over their sequence up to the end of this call.
ops::RopeTable rope_table(const Rope& rope, const Sequences& sequences, int64_t width,
                          const at::TensorOptions& like);

/// What latent attention multiplies its scores by: (0.1 mscale_all_dim ln factor + 1)^2 of yarn; 1
/// without.
double yarn_score_scale(const Rope& rope);

}  // namespace moe::layers
