#pragma once
// H query heads, G key-value heads, P head width.

#include <string>

#include <moe/layers/mixer.h>

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

/// The mixer "attention": o = w_o concat_h softmax(q_h k_g(h)^T / sqrt(P)) v_g(h) over what a token
/// may see of its own sequence.
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
  /// Fills in kv_heads.
  void resolve();

  operator layers::MixerSpec() const { return spec_of<layers::MixerSpec>("attention", *this); }
};

}  // namespace moe
