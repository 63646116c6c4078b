#pragma once
// T tokens, D width, H query heads, G key-value heads, P head width.

#include <string>

#include <moe/layers/mixer.h>
#include <moe/layers/norm.h>
#include <moe/ops/rope.h>

namespace moe {

/// Rotary positions of queries and keys.
struct Rope {
  std::string kind = "halves";
  double theta = 10000;
  double share = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind,
      "which numbers of a head turn together: halves (i and i + width/2: Llama), interleaved (2i "
      "and "
      "2i + 1: GPT-J) or none (no positions)");
    v("theta", theta, "base of the wavelengths");
    v("share", share, "share of a head's numbers that turns, the first ones");
  }
  void validate(const std::string& place) const;
};

/// Options of the mixer "attention".
struct Attention {
  int64_t heads = 1;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool bias = false;
  bool output_bias = false;
  std::string qk_norm = "none";
  Rope rope = {};
  int64_t window = 0;
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "query heads");
    v("kv_heads", kv_heads,
      "key-value heads; 0: as many as heads; 1: multi-query; between: grouped");
    v("head_dim", head_dim, "width of a head; 0: d_model / heads");
    v("bias", bias, "biases of queries, keys and values");
    v("output_bias", output_bias, "bias of the output");
    v("qk_norm", qk_norm,
      "norm of queries and keys: none, head (over each head: Qwen3) or projection (over all heads: "
      "OLMoE)");
    v("rope", rope, "rotary positions");
    v("window", window, "a token sees this many positions up to its own; 0: all");
    v("dropout", dropout, "share of the attention weights that is zeroed in training");
  }
  void validate(const std::string& place) const;
  operator layers::MixerSpec() const;
};

}  // namespace moe

namespace moe::layers {

/// Softmax attention: o = w_o concat_h softmax(q_h k_g(h)^T / sqrt(P)) v_g(h). Parameters w_q (H·P,
/// D), w_k, w_v (G·P, D), w_o (D, H·P), optional biases b_…, and norms q_norm, k_norm.
class AttentionMixer final : public Mixer {
 public:
  AttentionMixer(const MixerShape& shape, const Attention& options);

  /// Throws moe::Error beside a state: for another number of sequences or other lengths than it
  /// has, for gradients, and where a sequence grows beyond its capacity.
  Tensor forward(const Tensor& x_TD, const LayerContext& context, MixerState* state) override;
  std::unique_ptr<MixerState> new_state(const StateShape& shape) const override;
  int64_t flops_over_keys(int64_t keys) const override;
  int64_t state_numbers(int64_t positions) const override;

 private:
  /// Turned by positions where the options say so.
  std::pair<Tensor, Tensor> turn(const Tensor& q_THP, const Tensor& k_TGP,
                                 const Sequences& sequences) const;

  Attention options_;
  bool causal_;
  Tensor w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o;
  Norm q_norm{nullptr}, k_norm{nullptr};
};

}  // namespace moe::layers
