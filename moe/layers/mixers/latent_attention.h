#pragma once
// D width, H heads, N and R numbers of a head without and with positions, V width of values, Q and
// C ranks of compressed queries and of the latent, J indexer heads, I their width.

#include <string>

#include <moe/layers/mixer.h>
#include <moe/layers/rope.h>

namespace moe {

/// Chooses the keys that a token of sparse attention sees (DeepSeek-V3.2): of its own and earlier
/// tokens s the `top_k` of largest sum_j w_j relu(q_j · k_s / sqrt(I)), with q = w_q of the
/// normalised compressed query, k = LayerNorm(w_k x) and w = w_weights x / sqrt(J); the first R
/// numbers of q and k turn as those of the attention do. Equal scores go to the earlier token.
struct Indexer {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t top_k = 0;
  std::string rope_kind = "halves";
  bool shared = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads of the indexer; 0: no indexer, a token sees all keys up to its own");
    v("head_dim", head_dim, "width of a head of the indexer; at least rope_dim");
    v("top_k", top_k, "keys that a token sees at most");
    v("rope_kind", rope_kind,
      "which numbers of its heads turn together: halves (DeepSeek-V3.2) or interleaved (GLM-5)");
    v("shared", shared,
      "no indexer of its own: a token sees what the nearest earlier layer with one chose (GLM-5)");
  }
  /// Whether a token may see less than all keys up to its own.
  bool active() const { return heads > 0 || shared; }
  void validate(const std::string& place) const;
};

/// The mixer "latent_attention" (DeepSeek-V2): keys and values of all heads are made from one
/// latent c = kv_scale · RMSNorm(w_kv_a x) a token, beside one key k_r that turns with the position
/// and that all heads share. Head h has k_h = [k_n; k_r] and v_h with [k_n; v_h] = w_kv_b c, and
/// the query q_h = q_scale · w_q_b RMSNorm(w_q_a x), or q_scale · w_q x with q_rank = 0, whose last
/// R numbers turn; o = w_o concat_h softmax(scale q_h k_h^T) v_h.
///
/// Parameters: w_q (H(N+R), D), or w_q_a (Q, D), q_norm.scale and w_q_b (H(N+R), Q); w_kv_a (C+R,
/// D), the latent's rows first; kv_norm.scale; w_kv_b (H(N+V), C), for each head the rows of its
/// keys, then those of its values; w_o (D, H·V); with `bias` b_q_a (Q), b_kv_a and b_o; the
/// indexer's indexer.w_q (J·I, Q), indexer.w_k (I, D), indexer.k_norm.scale, indexer.k_norm.bias
/// and indexer.w_weights (J, D), which the loss does not train.
struct LatentAttention {
  int64_t heads = 1;
  int64_t q_rank = 0;
  int64_t kv_rank = 0;
  int64_t nope_dim = 0;
  int64_t rope_dim = 0;
  int64_t value_dim = 0;
  Rope rope = {.kind = "interleaved"};
  double scale = 0;
  double q_scale = 1;
  double kv_scale = 1;
  bool bias = false;
  double norm_epsilon = 1e-6;
  double temperature_scale = 0;
  double temperature_floor = 0;
  double temperature_offset = 0;
  Indexer indexer = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "heads");
    v("q_rank", q_rank, "width of the compressed query; 0: queries are not compressed");
    v("kv_rank", kv_rank, "width of the latent of keys and values; 0: 4 nope_dim");
    v("nope_dim", nope_dim,
      "numbers of a head's query and key that know no position; 0: d_model / heads");
    v("rope_dim", rope_dim,
      "numbers of a head's query that turn, and of the shared key; 0: the "
      "even number nearest to nope_dim / 2");
    v("value_dim", value_dim, "width of a head's values; 0: nope_dim");
    v("rope", rope, "rotary positions; of kind none the rope_dim numbers do not turn");
    v("scale", scale,
      "scores are multiplied by it; 0: 1 / sqrt(nope_dim + rope_dim), times (0.1 mscale_all_dim ln "
      "factor + 1)^2 of yarn");
    v("q_scale", q_scale, "queries are multiplied by it (LongCat)");
    v("kv_scale", kv_scale, "the latent is multiplied by it behind its norm (LongCat)");
    v("bias", bias, "biases of the compressing projections and of the output");
    v("norm_epsilon", norm_epsilon, "of the norms of compressed query and latent");
    v("temperature_scale", temperature_scale,
      "queries grow with their position p, by 1 + temperature_scale · ln(1 + floor((p + "
      "temperature_offset) / temperature_floor)) (Mistral 4); 0: they do not");
    v("temperature_floor", temperature_floor, "positions of one temperature");
    v("temperature_offset", temperature_offset, "1: Llama 4; 0: Mistral 4");
    v("indexer", indexer, "chooses which keys a token sees");
  }
  void validate(const std::string& place) const;
  /// Fills in the widths that follow from others; those that follow from d_model stay 0.
  void resolve();

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("latent_attention", *this);
  }
};

}  // namespace moe
