#pragma once
// D width, H heads, P width of a head.

#include <memory>

#include <moe/layers/mixer.h>

namespace moe {

/// Attention of a decoder's tokens to what an encoder made of another text:
///
///   y_t = w_o concat_h softmax(scale q_th K_h^T) V_h + b_o,   q = w_q x + b_q,
///   K = w_k m + b_k, V = w_v m + b_v over all tokens m of the sequence's memory.
///
/// Parameters: w_q, w_k, w_v (H·P, D), w_o (D, H·P), b_q, b_k, b_v, b_o. Every token sees the whole
/// memory; without positions.
struct CrossAttention {
  int64_t heads = 0;
  int64_t head_dim = 0;
  bool bias = false;
  double scale = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads; 0: no cross attention");
    v("head_dim", head_dim, "width of a head; 0: d_model / heads");
    v("bias", bias, "biases of queries, keys, values and the output");
    v("scale", scale, "scores are multiplied by it; 0: 1 / sqrt(head_dim)");
  }
  void validate(const std::string& place) const;
};

}  // namespace moe

namespace moe::layers {

/// Cross attention. It reads context.memory, which has a sequence for each of the call; beside a
/// state those that have tokens, whose keys and values the state keeps from then on. No kind of
/// mixers.def, as it does nothing without a memory.
///
/// Throws moe::Error for a memory that is missing, of another width, or of other sequences.
std::shared_ptr<Mixer> make_cross_attention(const MixerShape& shape, const CrossAttention& options);

}  // namespace moe::layers
