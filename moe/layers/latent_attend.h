#pragma once
// T tokens of several sequences, H heads, N and R numbers of a head without and with positions, V
// width of values, C rank of the latent.

#include <moe/flow/key_choices.h>
#include <moe/flow/sequences.h>
#include <moe/layers/latent_state.h>

namespace moe::layers {

/// What the products of latent attention are told.
struct LatentHeads {
  /// (H, N + V, C), of the queries' type: what makes keys and values of a latent.
  Tensor w_HXC;
  int64_t nope = 0, value = 0;
  double scale = 1;
  bool causal = true;
  /// A pass of training, or its first half: gradients may follow.
  bool learns = false;
};

/// Attention inside each sequence alone: queries (T, H, N + R), latents (T, C) and shared keys (T,
/// R)
/// -> (T, H, V). `seen`: what tokens see, one entry a sequence; null: all up to their own.
Tensor attend_latents(const Tensor& q_THP, const Tensor& latent_TC, const Tensor& shared_TR,
                      const LatentHeads& heads, const Runs& runs, const SeenPositions* seen);

/// The same behind what `state` holds, these tokens' latents and shared keys included. Sequences
/// that bring few tokens get w_HXC applied to their queries and results instead of to all latents:
/// scores are (w q)^T c. What a sequence gets in float32 on the CPU does not depend on the others,
/// to the bit. Without gradients.
Tensor attend_latents_with_state(const Tensor& q_THP, const LatentHeads& heads, const Runs& runs,
                                 const SeenPositions* seen, const LatentState& state);

}  // namespace moe::layers
