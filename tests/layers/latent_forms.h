#pragma once
// Latent attention in the forms that differ in what they compute, and plain loops to compare them
// with. T tokens, D width, H heads, N and R numbers of a head without and with positions, V width
// of values, C rank of the latent, J indexer heads, I their width.

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <tests/support/modules.h>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/mixers/latent_attention.h>

namespace moe::test {

constexpr int64_t kLatentWidth = 12;

struct LatentForm {
  std::string name;
  LatentAttention options;
  bool causal = true;
};

inline std::vector<LatentForm> latent_forms() {
  const LatentAttention base = {
      .heads = 3, .q_rank = 5, .kv_rank = 7, .nope_dim = 6, .rope_dim = 4, .value_dim = 8};
  std::vector<LatentForm> out;
  const auto add = [&](const std::string& name, const auto& change) {
    out.push_back({name, base});
    change(out.back().options);
  };
  add("compressed queries", [](auto&) {});
  add("plain queries", [](auto& o) { o.q_rank = 0, o.heads = 2; });
  add("halves turn", [](auto& o) { o.rope = {.kind = "halves", .theta = 50}; });
  add("nothing turns", [](auto& o) { o.rope.kind = "none", o.rope_dim = 3; });
  add("wide values", [](auto& o) { o.value_dim = 15, o.heads = 1; });
  add("narrow values", [](auto& o) { o.value_dim = 2; });
  add("biases", [](auto& o) { o.bias = true; });
  add("factors", [](auto& o) { o.q_scale = 1.5, o.kv_scale = 0.7, o.scale = 0.4; });
  add("score scale of yarn", [](auto& o) {
    // Without a ramp: no frequency is divided.
    o.rope = {.kind = "interleaved", .scaling = "yarn", .factor = 4, .original_length = 64};
    o.rope.mscale = o.rope.mscale_all_dim = 1;
    o.rope.beta_fast = 1e-6, o.rope.beta_slow = 1e-7;
  });
  add("temperature", [](auto& o) {
    o.temperature_scale = 0.4, o.temperature_floor = 3, o.temperature_offset = 1;
  });
  out.push_back({"bidirectional", base, false});
  add("indexer", [](auto& o) { o.indexer = {.heads = 4, .head_dim = 6, .top_k = 5}; });
  add("indexer of one key that turns in pairs", [](auto& o) {
    o.indexer = {.heads = 2, .head_dim = 4, .top_k = 1, .rope_kind = "interleaved"};
  });
  add("indexer without positions", [](auto& o) {
    o.rope.kind = "none";
    o.indexer = {.heads = 3, .head_dim = 2, .top_k = 20};
  });
  return out;
}

/// With random float64 parameters, biases and scales too.
inline std::shared_ptr<layers::Mixer> make_latent(const LatentForm& form) {
  const auto out = layers::MixerSpec(form.options)
                       .make(layers::MixerShape{.d_model = kLatentWidth, .causal = form.causal});
  randomise(*out, 1);
  return out;
}

/// Parameters that the loss trains: not those of the indexer.
inline std::vector<std::pair<std::string, Tensor>> trained_of(const layers::Mixer& mixer) {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& item : mixer.named_parameters())
    if (!item.key().starts_with("indexer.")) out.emplace_back(item.key(), item.value());
  return out;
}

namespace naive_latent {

inline Tensor turned(const Tensor& x_P, const Rope& rope, const std::string& kind, int64_t width,
                     int64_t position) {
  Tensor out_P = x_P.clone();
  if (rope.kind == "none") return out_P;
  for (int64_t i = 0; i < width / 2; ++i) {
    const double angle =
        static_cast<double>(position) *
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    const int64_t one = kind == "interleaved" ? 2 * i : i;
    const int64_t other = kind == "interleaved" ? 2 * i + 1 : i + width / 2;
    const double a = x_P[one].item<double>(), b = x_P[other].item<double>();
    out_P[one] = a * std::cos(angle) - b * std::sin(angle);
    out_P[other] = b * std::cos(angle) + a * std::sin(angle);
  }
  return out_P;
}

inline Tensor rms(const Tensor& x, const Tensor& scale) {
  return x / (x.square().mean(-1, true) + LatentAttention().norm_epsilon).sqrt() * scale;
}

}  // namespace naive_latent

/// Which keys each token of one sequence sees.
using SeenTokens = std::vector<std::vector<bool>>;

/// What one sequence x_TD alone gets, in float64, and what its tokens see. `shared`: what an
/// earlier layer chose.
inline std::pair<Tensor, SeenTokens> naive_latent_attention(const layers::Mixer& mixer,
                                                            const LatentForm& form,
                                                            const Tensor& x_TD,
                                                            const SeenTokens& shared = {}) {
  using namespace naive_latent;
  const auto parameters = mixer.named_parameters();
  const auto find = [&](const std::string& name) {
    const Tensor* found = parameters.find(name);
    return found ? *found : Tensor();
  };
  const LatentAttention& o = form.options;
  const int64_t T = x_TD.size(0), N = o.nope_dim, R = o.rope_dim, P = N + R, V = o.value_dim,
                C = o.kv_rank;
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  Tensor compressed_TQ;
  if (o.q_rank > 0)
    compressed_TQ = rms(at::linear(x_TD, find("w_q_a"), find("b_q_a")), find("q_norm.scale"));
  const Tensor q_TX =
      o.q_rank > 0 ? at::linear(compressed_TQ, find("w_q_b")) : at::linear(x_TD, find("w_q"));
  const Tensor kv_TX = at::linear(x_TD, find("w_kv_a"), find("b_kv_a"));
  const Tensor latent_TC = rms(kv_TX.slice(1, 0, C), find("kv_norm.scale")) * o.kv_scale;
  const Tensor expanded_TX = at::linear(latent_TC, find("w_kv_b"));

  SeenTokens sees(at(T), std::vector<bool>(at(T)));
  for (int64_t t = 0; t < T; ++t)
    for (int64_t s = 0; s < T; ++s) sees[at(t)][at(s)] = !form.causal || s <= t;
  if (!shared.empty()) sees = shared;
  if (o.indexer.heads > 0) {
    const int64_t J = o.indexer.heads, I = o.indexer.head_dim;
    Tensor key_TI = at::linear(x_TD, find("indexer.w_k"));
    key_TI = key_TI - key_TI.mean(-1, true);
    key_TI =
        key_TI / (key_TI.square().mean(-1, true) + 1e-6).sqrt() * find("indexer.k_norm.scale") +
        find("indexer.k_norm.bias");
    const Tensor query_TX = at::linear(compressed_TQ, find("indexer.w_q"));
    const Tensor weight_TJ = at::linear(x_TD, find("indexer.w_weights"));
    for (int64_t t = 0; t < T; ++t) {
      std::vector<double> scores;
      for (int64_t s = 0; s <= t; ++s) {
        const Tensor k_I = turned(key_TI[s], o.rope, o.indexer.rope_kind, R, s);
        double score = 0;
        for (int64_t j = 0; j < J; ++j) {
          const Tensor q_I =
              turned(query_TX[t].slice(0, j * I, (j + 1) * I), o.rope, o.indexer.rope_kind, R, t);
          const double product = q_I.dot(k_I).item<double>() / std::sqrt(static_cast<double>(I));
          score += weight_TJ[t][j].item<double>() / std::sqrt(static_cast<double>(J)) *
                   std::max(0.0, product);
        }
        scores.push_back(score);
      }
      std::vector<int64_t> order(scores.size());
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order,
                               [&](int64_t a, int64_t b) { return scores[at(a)] > scores[at(b)]; });
      for (size_t place = at(o.indexer.top_k); place < order.size(); ++place)
        sees[at(t)][at(order[place])] = false;
    }
  }

  double scale = o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(P));
  if (o.scale == 0 && o.rope.mscale_all_dim > 0)
    scale *= std::pow(0.1 * o.rope.mscale_all_dim * std::log(o.rope.factor) + 1, 2);
  std::vector<Tensor> shared_keys;
  for (int64_t s = 0; s < T; ++s)
    shared_keys.push_back(turned(kv_TX[s].slice(0, C, C + R), o.rope, o.rope.kind, R, s));
  Tensor heads_TX = at::zeros({T, o.heads * V}, at::kDouble);
  for (int64_t t = 0; t < T; ++t) {
    const double step = std::floor((static_cast<double>(t) + o.temperature_offset) /
                                   std::max(o.temperature_floor, 1.0));
    const double temperature = 1 + o.temperature_scale * std::log(1 + step);
    for (int64_t h = 0; h < o.heads; ++h) {
      const Tensor q_P = q_TX[t].slice(0, h * P, (h + 1) * P) * (o.q_scale * temperature);
      const Tensor q =
          at::cat({q_P.slice(0, 0, N), turned(q_P.slice(0, N, P), o.rope, o.rope.kind, R, t)});
      Tensor sum_V = at::zeros({V}, at::kDouble);
      double total = 0;
      for (int64_t s = 0; s < T; ++s) {
        if (!sees[at(t)][at(s)]) continue;
        const Tensor own_X = expanded_TX[s].slice(0, h * (N + V), (h + 1) * (N + V));
        const Tensor k = at::cat({own_X.slice(0, 0, N), shared_keys[at(s)]});
        const double weight = std::exp(q.dot(k).item<double>() * scale);
        total += weight;
        sum_V += own_X.slice(0, N, N + V) * weight;
      }
      heads_TX[t].slice(0, h * V, (h + 1) * V) = sum_V / total;
    }
  }
  return {at::linear(heads_TX, find("w_o"), find("b_o")), sees};
}

}  // namespace moe::test
