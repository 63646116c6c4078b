#pragma once
// Attention in the forms that differ in what they compute, and plain loops to compare them with.
// T tokens, D width, H query heads, G key-value heads, P width of queries and keys, V width of
// values.

#include <cmath>
#include <memory>
#include <string>
#include <tests/support/modules.h>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

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
  return {
      {"multi-head", {.heads = 3}},
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
      {"chunks of four", {.heads = 6, .kv_heads = 2, .chunk = 4}},
      {"chunks of twenty", {.heads = 3, .chunk = 20}},
      {"narrow values", {.heads = 6, .kv_heads = 2, .head_dim = 6, .bias = true, .value_dim = 4}},
      {"wide values", {.heads = 3, .head_dim = 4, .value_dim = 7, .sinks = true}},
      {"scale", {.heads = 3, .scale = 0.7}},
      {"softcap", {.heads = 6, .kv_heads = 2, .scale = 1.5, .softcap = 0.8}},
      {"sinks", {.heads = 6, .kv_heads = 2, .sinks = true}},
      {"sinks and a window", {.heads = 3, .window = 3, .scale = 1.3, .sinks = true}},
      {"sinks, softcap and chunks", {.heads = 3, .chunk = 5, .softcap = 0.5, .sinks = true}},
      {"gate", {.heads = 3, .head_dim = 6, .value_dim = 5, .gate = true}},
      {"clip", {.heads = 3, .bias = true, .clip = 0.9}},
      {"clip of normalised projections",
       {.heads = 3, .kv_heads = 1, .qk_norm = "projection", .clip = 0.9}},
      {"clip before the norm of heads", {.heads = 3, .qk_norm = "head", .clip = 0.9}},
      {"norm after the rotation",
       {.heads = 6, .kv_heads = 3, .qk_norm = "head", .qk_norm_position = "after"}},
      {"norm of projections after the rotation",
       {.heads = 3, .qk_norm = "projection", .qk_norm_position = "after"}},
      {"norm of its own kind", {.heads = 3, .qk_norm = "head", .qk_norm_kind = "layernorm"}},
      {"values are keys",
       {.heads = 6,
        .kv_heads = 2,
        .bias = true,
        .qk_norm = "head",
        .clip = 2,
        .value_norm = true,
        .shared_key_value = true}},
      {"scaled values", {.heads = 3, .window = 4, .value_scale = 0.7}},
      {"temperature of Llama 4",
       {.heads = 4, .rope = {.kind = "none"}, .temperature_scale = 0.3, .temperature_floor = 3}},
      {"temperature of Mistral 4",
       {.heads = 3, .temperature_scale = 0.1, .temperature_floor = 4, .temperature_offset = 0}},
      {"bidirectional", {.heads = 3}, false},
      {"bidirectional with sinks", {.heads = 3, .sinks = true, .gate = true}, false},
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

/// softmax(scale q k^T) v of one query and head over the tokens that `sees` names.
inline Tensor attend_one(const Tensor& q_P, const std::vector<Tensor>& k,
                         const std::vector<Tensor>& v, const std::vector<bool>& sees,
                         const Attention& o = {}, const Tensor& sink = {}) {
  const int64_t P = q_P.size(0);
  Tensor out_V = at::zeros_like(v.front());
  double total = sink.defined() ? std::exp(sink.item<double>()) : 0;
  for (size_t c = 0; c < k.size(); ++c) {
    if (!sees[c]) continue;
    double score = 0;
    for (int64_t p = 0; p < P; ++p) score += q_P[p].item<double>() * k[c][p].item<double>();
    score *= o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(P));
    if (o.softcap > 0) score = o.softcap * std::tanh(score / o.softcap);
    const double weight = std::exp(score);
    total += weight;
    out_V += v[c] * weight;
  }
  return out_V / total;
}

inline bool sees(const AttentionForm& form, int64_t t, int64_t c) {
  const Attention& o = form.options;
  if (!form.causal) return true;
  return c <= t && (o.window == 0 || c > t - o.window) &&
         (o.chunk == 0 || c / o.chunk == t / o.chunk);
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
  const int64_t V = o.value_dim > 0 ? o.value_dim : P;
  const auto clipped = [&](const Tensor& x) {
    return o.clip > 0 ? at::clamp(x, -o.clip, o.clip) : x;
  };
  const auto project = [&](const std::string& which) {
    return at::linear(x_TD, find("w_" + which), find("b_" + which));
  };
  using Heads = std::vector<std::vector<Tensor>>;  // [head][token]
  const auto heads_of = [&](const Tensor& all_T, int64_t heads, int64_t width) {
    Heads out(static_cast<size_t>(heads));
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t t = 0; t < T; ++t)
        out[static_cast<size_t>(h)].push_back(all_T[t].slice(0, h * width, (h + 1) * width));
    return out;
  };
  const auto normalise_heads = [&](Heads heads, const std::string& which) {
    const Tensor scale = find(which + "_norm.scale"), bias = find(which + "_norm.bias");
    for (int64_t t = 0; t < T; ++t) {
      std::vector<Tensor> all;
      for (auto& head : heads) all.push_back(head[static_cast<size_t>(t)]);
      if (o.qk_norm == "projection")
        all = normalised(at::cat(all), scale, bias).split(P);
      else
        for (auto& one : all) one = normalised(one, scale, bias);
      for (size_t h = 0; h < heads.size(); ++h) heads[h][static_cast<size_t>(t)] = all[h];
    }
    return heads;
  };
  const auto keyed = [&](const std::string& which, int64_t count) {
    Tensor all_T = project(which);
    const bool norm = o.qk_norm != "none", before = o.qk_norm_position == "before";
    if (!(norm && before && o.qk_norm == "projection")) all_T = clipped(all_T);
    Heads out = heads_of(all_T, count, P);
    if (norm && before) out = normalise_heads(out, which);
    for (auto& head : out)
      for (int64_t t = 0; t < T; ++t) {
        Tensor& x_P = head[static_cast<size_t>(t)];
        x_P = turned(o.qk_norm == "projection" && before ? clipped(x_P) : x_P, o.rope, t);
      }
    return norm && !before ? normalise_heads(out, which) : out;
  };
  auto q = keyed("q", H);
  const auto k = keyed("k", G);
  auto v = heads_of(clipped(project(o.shared_key_value ? "k" : "v")), G, V);
  for (auto& head : v)
    for (auto& x_V : head) {
      if (o.value_norm)
        x_V = x_V / (x_V.square().mean() + layers::MixerShape().norm_epsilon).sqrt();
      x_V = x_V * o.value_scale;
    }
  if (o.temperature_scale > 0)
    for (auto& head : q)
      for (int64_t t = 0; t < T; ++t) {
        const double step =
            std::floor((static_cast<double>(t) + o.temperature_offset) / o.temperature_floor);
        head[static_cast<size_t>(t)] *= 1 + o.temperature_scale * std::log(1 + step);
      }
  Tensor heads_TQ = at::zeros({T, H * V}, at::kDouble);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      std::vector<bool> seen;
      for (int64_t c = 0; c < T; ++c) seen.push_back(sees(form, t, c));
      const auto g = static_cast<size_t>(h / (H / G));
      heads_TQ[t].slice(0, h * V, (h + 1) * V) =
          attend_one(q[static_cast<size_t>(h)][static_cast<size_t>(t)], k[g], v[g], seen, o,
                     o.sinks ? find("sinks")[h] : Tensor());
    }
  if (o.gate) heads_TQ = heads_TQ * at::sigmoid(at::linear(x_TD, find("w_gate")));
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
