#pragma once
// D width, H query heads, G key-value heads, P width of queries and keys, V width of values.

#include <string>

#include <moe/layers/mixer.h>
#include <moe/layers/relative_positions.h>
#include <moe/layers/rope.h>

namespace moe {

/// The mixer "attention": o = w_o concat_h softmax(scale q_h k_g(h)^T + bias_h) v_g(h) over what a
/// token may see of its own sequence.
///
/// Parameters: w_q (H·P, D), w_k (G·P, D), w_v (G·V, D; none with shared_key_value), w_o (D, H·V),
/// b_q, b_k, b_v, b_o, w_gate (H·V, D), b_gate, sinks (H), position_bias (B, H; see
/// RelativePositions), q_norm.scale and k_norm.scale.
struct Attention {
  int64_t heads = 1;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool bias = false;
  bool output_bias = false;
  std::string qk_norm = "none";
  Rope rope = {};
  RelativePositions relative = {};
  int64_t window = 0;
  double dropout = 0;
  int64_t chunk = 0;
  int64_t value_dim = 0;
  double scale = 0;
  double softcap = 0;
  bool sinks = false;
  bool gate = false;
  bool gate_bias = false;
  double clip = 0;
  std::string qk_norm_kind = "";
  std::string qk_norm_position = "before";
  bool value_norm = false;
  bool shared_key_value = false;
  double value_scale = 1;
  double temperature_scale = 0;
  double temperature_floor = 0;
  double temperature_offset = 1;

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
    v("relative", relative, "biases on scores by distance (T5); no capped scores beside them");
    v("window", window, "a token sees this many positions up to its own; 0: all");
    v("dropout", dropout, "share of the attention weights that is zeroed in training");
    v("chunk", chunk,
      "a token sees the positions up to its own in its chunk of so many only: 0 to chunk - 1, "
      "chunk "
      "to 2 chunk - 1, and so on (Llama 4); 0: no chunks");
    v("value_dim", value_dim, "width of a head's values; 0: head_dim");
    v("scale", scale, "scores are multiplied by it; 0: 1 / sqrt(head_dim)");
    v("softcap", softcap, "scores s become softcap · tanh(s / softcap) (Grok-1); 0: they stay");
    v("sinks", sinks,
      "a learned score of each head beside those of the keys, whose weight goes nowhere (gpt-oss)");
    v("gate", gate, "the heads' outputs are multiplied by sigmoid(w_gate x) before w_o");
    v("gate_bias", gate_bias, "bias of that gate");
    v("clip", clip,
      "queries, keys and values are cut to ±clip after their projection, and the norm of a whole "
      "projection; 0: they stay");
    v("qk_norm_kind", qk_norm_kind, "kind of the norm of queries and keys; empty: the block's");
    v("qk_norm_position", qk_norm_position,
      "norm of queries and keys before or after their rotation");
    v("value_norm", value_norm, "values are divided by their root mean square, each head alone");
    v("shared_key_value", shared_key_value,
      "values are the projected keys, before norm and rotation (Gemma 4)");
    v("value_scale", value_scale, "values are multiplied by it");
    v("temperature_scale", temperature_scale,
      "queries grow with their position p, by 1 + temperature_scale · ln(1 + floor((p + "
      "temperature_offset) / temperature_floor)); 0: they do not");
    v("temperature_floor", temperature_floor, "positions of one temperature");
    v("temperature_offset", temperature_offset, "1: Llama 4; 0: Mistral 4");
  }
  void validate(const std::string& place) const;
  /// Fills in kv_heads.
  void resolve();

  operator layers::MixerSpec() const { return spec_of<layers::MixerSpec>("attention", *this); }
};

}  // namespace moe
