#pragma once
// Attention in the forms that differ in what they compute, and plain loops to compare them with.
// T tokens, D width, H query heads, G key-value heads, P head width.

#include <cmath>
#include <memory>
#include <string>
#include <tests/support/modules.h>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/mixers/attention.h>

namespace moe::test {

constexpr int64_t kAttentionWidth = 12;

struct AttentionForm {
  std::string name;
  Attention options;
  bool causal = true;
  std::string norm = "rmsnorm";
};

inline std::vector<AttentionForm> attention_forms() {
  return {{"multi-head", {.heads = 3}},
          {"grouped-query", {.heads = 6, .kv_heads = 2}},
          {"multi-query", {.heads = 3, .kv_heads = 1}},
          {"wide heads and biases", {.heads = 2, .head_dim = 8, .bias = true, .output_bias = true}},
          {"norm of heads", {.heads = 6, .kv_heads = 3, .qk_norm = "head", .rope = {.theta = 50}}},
          {"norm of projections", {.heads = 3, .kv_heads = 1, .qk_norm = "projection"}},
          {"interleaved", {.heads = 3, .rope = {.kind = "interleaved"}}},
          {"half of a head turns", {.heads = 3, .bias = true, .rope = {.share = 0.5}}},
          {"no positions", {.heads = 4, .rope = {.kind = "none"}}},
          {"window of three", {.heads = 3, .kv_heads = 1, .window = 3}},
          {"window of one", {.heads = 3, .window = 1}},
          {"bidirectional", {.heads = 3}, false},
          {"bidirectional layernorm", {.heads = 3, .qk_norm = "head"}, false, "layernorm"}};
}

/// With random float64 parameters, biases and scales too.
inline std::shared_ptr<layers::Mixer> make_attention(const AttentionForm& form) {
  const auto out = layers::MixerSpec(form.options)
                       .make(layers::MixerShape{
                           .d_model = kAttentionWidth, .causal = form.causal, .norm = form.norm});
  randomise(*out, 1);
  return out;
}

namespace naive_attention {

/// The vector of one token and head, as it was projected, normalised and turned.
inline Tensor turned(const Tensor& x_P, const Rope& rope, int64_t position) {
  const int64_t P = x_P.size(0);
  const int64_t width = rope.kind == "none" ? 0 : std::llround(rope.share * static_cast<double>(P));
  Tensor out_P = x_P.clone();
  for (int64_t i = 0; i < width / 2; ++i) {
    const double angle =
        static_cast<double>(position) *
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    const int64_t one = rope.kind == "interleaved" ? 2 * i : i;
    const int64_t other = rope.kind == "interleaved" ? 2 * i + 1 : i + width / 2;
    const double a = x_P[one].item<double>(), b = x_P[other].item<double>();
    out_P[one] = a * std::cos(angle) - b * std::sin(angle);
    out_P[other] = b * std::cos(angle) + a * std::sin(angle);
  }
  return out_P;
}

inline Tensor normalised(const Tensor& x, const Tensor& scale, const Tensor& bias) {
  const double epsilon = layers::MixerShape().norm_epsilon;
  if (!bias.defined()) return x / (x.square().mean(-1, true) + epsilon).sqrt() * scale;
  const Tensor centred = x - x.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + epsilon).sqrt() * scale + bias;
}

/// softmax(q k^T / sqrt(P)) v of one query and head over the tokens that `sees` names.
inline Tensor attend_one(const Tensor& q_P, const std::vector<Tensor>& k,
                         const std::vector<Tensor>& v, const std::vector<bool>& sees) {
  const int64_t P = q_P.size(0);
  Tensor out_P = at::zeros({P}, at::kDouble);
  double total = 0;
  for (size_t c = 0; c < k.size(); ++c) {
    if (!sees[c]) continue;
    double score = 0;
    for (int64_t p = 0; p < P; ++p) score += q_P[p].item<double>() * k[c][p].item<double>();
    const double weight = std::exp(score / std::sqrt(static_cast<double>(P)));
    total += weight;
    out_P += v[c] * weight;
  }
  return out_P / total;
}

}  // namespace naive_attention

/// What one sequence x_TD alone gets, in float64.
inline Tensor naive_attention_of(const layers::Mixer& mixer, const AttentionForm& form,
                                 const Tensor& x_TD) {
  using namespace naive_attention;
  const auto p = mixer.named_parameters();
  const auto find = [&](const std::string& name) {
    const Tensor* found = p.find(name);
    return found ? *found : Tensor();
  };
  const Attention& o = form.options;
  const int64_t T = x_TD.size(0), H = o.heads, G = o.kv_heads > 0 ? o.kv_heads : H;
  const int64_t P = o.head_dim > 0 ? o.head_dim : kAttentionWidth / H;
  // [head][token]
  const auto heads_of = [&](const std::string& which, int64_t heads, bool keyed) {
    Tensor all_T = at::linear(x_TD, find("w_" + which), find("b_" + which));
    const Tensor scale = find(which + "_norm.scale"), bias = find(which + "_norm.bias");
    if (o.qk_norm == "projection" && keyed) all_T = normalised(all_T, scale, bias);
    std::vector<std::vector<Tensor>> out(static_cast<size_t>(heads));
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t t = 0; t < T; ++t) {
        Tensor x_P = all_T[t].slice(0, h * P, (h + 1) * P);
        if (o.qk_norm == "head" && keyed) x_P = normalised(x_P, scale, bias);
        out[static_cast<size_t>(h)].push_back(keyed ? turned(x_P, o.rope, t) : x_P);
      }
    return out;
  };
  const auto q = heads_of("q", H, true), k = heads_of("k", G, true), v = heads_of("v", G, false);
  Tensor heads_TQ = at::zeros({T, H * P}, at::kDouble);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      std::vector<bool> sees;
      for (int64_t c = 0; c < T; ++c)
        sees.push_back(!form.causal || (c <= t && (o.window == 0 || c > t - o.window)));
      const auto g = static_cast<size_t>(h / (H / G));
      heads_TQ[t].slice(0, h * P, (h + 1) * P) =
          attend_one(q[static_cast<size_t>(h)][static_cast<size_t>(t)], k[g], v[g], sees);
    }
  return at::linear(heads_TQ, find("w_o"), find("b_o"));
}

/// A context of sequences of these lengths.
inline LayerContext context_of(const std::vector<int64_t>& lengths) {
  LayerContext out;
  out.tokens.sequences = Sequences::of_lengths(lengths);
  return out;
}

/// Calls `each(begin, end)` for the tokens of every sequence that has any.
template <class Each>
void for_each_sequence(const std::vector<int64_t>& lengths, const Each& each) {
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    if (length > 0) each(begin, begin + length);
    begin += length;
  }
}

}  // namespace moe::test
