#pragma once
// Recurrent mixers in the forms that differ in what they compute, and plain loops over tokens to
// compare them with. S tokens of one sequence, D width, H heads.

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <tests/support/modules.h>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/mixers/gated_delta_net.h>
#include <moe/layers/mixers/kimi_delta_attention.h>
#include <moe/layers/mixers/lightning_attention.h>
#include <moe/layers/mixers/mamba.h>
#include <moe/layers/mixers/mamba2.h>
#include <moe/layers/mixers/short_convolution.h>

namespace moe::test {

constexpr int64_t kRecurrentWidth = 12;
constexpr double kRecurrentEpsilon = 1e-5;  // of MixerShape

/// A parameter by name; undefined where there is none.
using Find = std::function<Tensor(const std::string&)>;

struct RecurrentForm {
  std::string name;
  layers::MixerSpec spec;
  /// x (S, D) of one sequence in float64 -> (S, D).
  std::function<Tensor(const Find& p, const Tensor& x_SD)> naive;
};

inline Find finder(const layers::Mixer& mixer) {
  return [parameters = mixer.named_parameters()](const std::string& name) {
    const Tensor* found = parameters.find(name);
    return found ? *found : Tensor();
  };
}

/// With random float64 parameters.
inline std::shared_ptr<layers::Mixer> make_recurrent(const RecurrentForm& form) {
  const auto out = form.spec.make(layers::MixerShape{.d_model = kRecurrentWidth});
  randomise(*out, 1);
  return out;
}

namespace naive_recurrent {

inline Tensor silu_of(const Tensor& x) {
  return x * x.sigmoid();
}
inline Tensor softplus_of(const Tensor& x) {
  return (1 + x.exp()).log();
}
inline Tensor rms(const Tensor& x, double epsilon) {
  return x / (x.square().mean(-1, true) + epsilon).sqrt();
}
inline Tensor of_length(const Tensor& x, double length) {
  return x / (x.square().sum(-1, true) + 1e-6).sqrt() * length;
}

inline Tensor convolved(const Tensor& x_SC, const Tensor& w_CW, const Tensor& b_C) {
  const int64_t W = w_CW.size(1);
  std::vector<Tensor> out;
  for (int64_t s = 0; s < x_SC.size(0); ++s) {
    Tensor y_C = b_C.defined() ? b_C : at::zeros({x_SC.size(1)}, at::kDouble);
    for (int64_t j = 0; j < W; ++j)
      if (s - W + 1 + j >= 0) y_C = y_C + w_CW.select(1, j) * x_SC[s - W + 1 + j];
    out.push_back(y_C);
  }
  return at::stack(out, 0);
}

/// One head: q, k (S, K), v (S, V), factors (S, 1 or K), rate (S) or undefined -> (S, V).
inline Tensor remembered(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& factors,
                         const Tensor& rate) {
  Tensor memory_KV = at::zeros({q.size(1), v.size(1)}, at::kDouble);
  std::vector<Tensor> out;
  for (int64_t s = 0; s < q.size(0); ++s) {
    memory_KV = factors[s].unsqueeze(1) * memory_KV;
    Tensor u = v[s];
    if (rate.defined()) u = rate[s] * (v[s] - memory_KV.t().mv(k[s]));
    memory_KV = memory_KV + at::outer(k[s], u);
    out.push_back(memory_KV.t().mv(q[s]));
  }
  return at::stack(out, 0);
}

inline Tensor rows(const Tensor& x, int64_t i, int64_t width) {
  return x.slice(1, i * width, (i + 1) * width);
}

inline Tensor delta_net(const GatedDeltaNet& o, const Find& p, const Tensor& x) {
  const int64_t G = o.key_heads, H = o.value_heads > 0 ? o.value_heads : G;
  const int64_t K = o.key_dim > 0 ? o.key_dim : kRecurrentWidth / G,
                V = o.value_dim > 0 ? o.value_dim : K;
  const auto project = [&](const char* name) { return at::linear(x, p(name)); };
  const Tensor mixed = silu_of(
      convolved(at::cat({project("w_q"), project("w_k"), project("w_v")}, 1), p("conv"), {}));
  const Tensor g = -p("a_log").exp() * softplus_of(project("w_a") + p("dt_bias"));
  std::vector<Tensor> heads;
  for (int64_t h = 0; h < H; ++h) {
    const int64_t i = h / (H / G);
    const Tensor q = of_length(rows(mixed, i, K), 1 / std::sqrt(static_cast<double>(K)));
    const Tensor k = of_length(rows(mixed.slice(1, G * K), i, K), 1);
    const Tensor v = rows(mixed.slice(1, 2 * G * K), h, V);
    const Tensor y =
        remembered(q, k, v, g.slice(1, h, h + 1).exp(), project("w_b").select(1, h).sigmoid());
    heads.push_back(rms(y, kRecurrentEpsilon) * p("norm.scale") *
                    silu_of(rows(project("w_z"), h, V)));
  }
  return at::linear(at::cat(heads, 1), p("w_o"));
}

inline Tensor kimi(const KimiDeltaAttention& o, const Find& p, const Tensor& x) {
  const int64_t P = o.head_dim > 0 ? o.head_dim : kRecurrentWidth / o.heads;
  const auto project = [&](const char* name) { return at::linear(x, p(name)); };
  const auto part = [&](const char* w, const char* conv) {
    const Tensor mixed = convolved(project(w), p(conv), {});
    return o.activation == "relu" ? mixed.clamp_min(0) : silu_of(mixed);
  };
  const Tensor q = part("w_q", "q_conv"), k = part("w_k", "k_conv"), v = part("w_v", "v_conv");
  const Tensor step = softplus_of(at::linear(project("w_f_a"), p("w_f_b")) + p("dt_bias"));
  const Tensor gate = at::linear(project("w_g_a"), p("w_g_b")).sigmoid();
  std::vector<Tensor> heads;
  for (int64_t h = 0; h < o.heads; ++h) {
    const Tensor factors = (-p("a_log")[h].exp() * rows(step, h, P)).exp();
    const Tensor y = remembered(of_length(rows(q, h, P), 1 / std::sqrt(static_cast<double>(P))),
                                of_length(rows(k, h, P), 1), rows(v, h, P), factors,
                                project("w_b").select(1, h).sigmoid());
    heads.push_back(rms(y, kRecurrentEpsilon) * p("norm.scale") * rows(gate, h, P));
  }
  return at::linear(at::cat(heads, 1), p("w_o"));
}

inline Tensor lightning(const LightningAttention& o, const Find& p, const Tensor& x) {
  const int64_t P = o.head_dim > 0 ? o.head_dim : kRecurrentWidth / o.heads;
  const auto project = [&](const char* name) {
    const Tensor y = at::linear(x, p(name));
    return o.activation == "silu" ? silu_of(y) : y.relu();
  };
  std::vector<Tensor> heads;
  for (int64_t h = 0; h < o.heads; ++h) {
    const double rate =
        o.decay * std::pow(2.0, -8.0 * static_cast<double>(h + 1) / static_cast<double>(o.heads));
    const Tensor factors = at::zeros({x.size(0), 1}, at::kDouble) + std::exp(-rate);
    heads.push_back(remembered(rows(project("w_q"), h, P), rows(project("w_k"), h, P),
                               rows(project("w_v"), h, P), factors, {}));
  }
  const Tensor y = rms(at::cat(heads, 1), o.norm_epsilon) * p("norm.scale");
  return at::linear(y * at::linear(x, p("w_gate")).sigmoid(), p("w_o"));
}

inline Tensor mamba1(const Mamba& o, const Find& p, const Tensor& x_SD) {
  const int64_t I = o.expand * kRecurrentWidth, N = o.state, R = o.step_rank > 0 ? o.step_rank : 1;
  const Tensor all = at::linear(x_SD, p("w_in"), p("b_in"));
  const Tensor mixed = convolved(all.slice(1, 0, I), p("conv"), p("conv_bias"));
  const Tensor x = o.activation == "relu" ? mixed.clamp_min(0) : silu_of(mixed);
  const Tensor of_x = at::linear(x, p("w_x"));
  Tensor dt = of_x.slice(1, 0, R), b = of_x.slice(1, R, R + N), c = of_x.slice(1, R + N);
  if (o.norms) {
    dt = rms(dt, kRecurrentEpsilon) * p("dt_norm.scale");
    b = rms(b, kRecurrentEpsilon) * p("b_norm.scale");
    c = rms(c, kRecurrentEpsilon) * p("c_norm.scale");
  }
  const Tensor step = softplus_of(at::linear(dt, p("w_dt"), p("b_dt"))), a = -p("a_log").exp();
  Tensor state = at::zeros({I, N}, at::kDouble);
  std::vector<Tensor> y;
  for (int64_t s = 0; s < x.size(0); ++s) {
    state = (step[s].unsqueeze(1) * a).exp() * state + at::outer(step[s] * x[s], b[s]);
    y.push_back(state.mv(c[s]) + p("d") * x[s]);
  }
  return at::linear(at::stack(y, 0) * silu_of(all.slice(1, I)), p("w_o"), p("b_o"));
}

inline Tensor mamba_2(const Mamba2& o, const Find& p, const Tensor& x_SD) {
  const int64_t H = o.heads, P = o.head_dim > 0 ? o.head_dim : 2 * kRecurrentWidth / H, I = H * P;
  const int64_t N = o.state, G = o.groups, norms = o.norm_groups > 0 ? o.norm_groups : G;
  const Tensor all = at::linear(x_SD, p("w_in"), p("b_in"));
  const int64_t C = I + 2 * G * N;
  const Tensor mixed = silu_of(convolved(all.slice(1, I, I + C), p("conv"), p("conv_bias")));
  Tensor step = softplus_of(all.slice(1, I + C) + p("dt_bias"));
  if (o.least_step > 0) step = step.clamp_min(o.least_step);
  if (o.largest_step > 0) step = step.clamp_max(o.largest_step);
  std::vector<Tensor> heads;
  for (int64_t h = 0; h < H; ++h) {
    const int64_t g = h / (H / G);
    const Tensor x = rows(mixed, h, P), dt = step.slice(1, h, h + 1);
    const Tensor y =
        remembered(rows(mixed.slice(1, I + G * N), g, N), rows(mixed.slice(1, I), g, N), dt * x,
                   (-p("a_log")[h].exp() * dt).exp(), {});
    heads.push_back(y + p("d")[h] * x);
  }
  const Tensor gated = at::cat(heads, 1) * silu_of(all.slice(1, 0, I));
  std::vector<Tensor> normed;
  for (int64_t n = 0; n < norms; ++n)
    normed.push_back(rms(rows(gated, n, I / norms), kRecurrentEpsilon));
  return at::linear(at::cat(normed, 1) * p("norm_scale"), p("w_o"), p("b_o"));
}

inline Tensor short_conv(const ShortConvolution&, const Find& p, const Tensor& x) {
  const Tensor all = at::linear(x, p("w_in"), p("b_in"));
  const auto third = [&](int64_t i) { return rows(all, i, kRecurrentWidth); };
  return at::linear(third(1) * convolved(third(0) * third(2), p("conv"), p("conv_bias")), p("w_o"),
                    p("b_o"));
}

}  // namespace naive_recurrent

template <class Options>
RecurrentForm recurrent_form(std::string name, Options o,
                             Tensor (*naive)(const Options&, const Find&, const Tensor&)) {
  return {std::move(name), o,
          [o, naive](const Find& p, const Tensor& x) { return naive(o, p, x); }};
}

inline std::vector<RecurrentForm> recurrent_forms() {
  using namespace naive_recurrent;
  return {
      recurrent_form("delta net", GatedDeltaNet{.key_heads = 2}, delta_net),
      recurrent_form(
          "delta net, grouped keys, other widths",
          GatedDeltaNet{.key_heads = 2, .value_heads = 4, .key_dim = 3, .value_dim = 5, .width = 2},
          delta_net),
      recurrent_form("delta net without convolution", GatedDeltaNet{.width = 1}, delta_net),
      recurrent_form("kimi", KimiDeltaAttention{.heads = 3}, kimi),
      recurrent_form(
          "kimi, other widths",
          KimiDeltaAttention{.heads = 2, .head_dim = 5, .width = 3, .activation = "relu"}, kimi),
      recurrent_form("lightning", LightningAttention{.heads = 3}, lightning),
      recurrent_form(
          "lightning, other decay",
          LightningAttention{
              .heads = 4, .head_dim = 5, .decay = 0.3, .activation = "relu", .norm_epsilon = 0.01},
          lightning),
      recurrent_form("mamba", Mamba{.state = 4}, mamba1),
      recurrent_form("mamba with norms",
                     Mamba{.expand = 3,
                           .state = 5,
                           .step_rank = 4,
                           .width = 2,
                           .activation = "relu",
                           .conv_bias = false,
                           .bias = true,
                           .norms = true},
                     mamba1),
      recurrent_form("mamba2", Mamba2{.heads = 4, .state = 3}, mamba_2),
      recurrent_form("mamba2 in groups",
                     Mamba2{.heads = 4,
                            .head_dim = 3,
                            .state = 5,
                            .groups = 2,
                            .width = 3,
                            .conv_bias = false,
                            .bias = true,
                            .least_step = 0.4,
                            .largest_step = 1.1},
                     mamba_2),
      recurrent_form("mamba2 in groups with one norm",
                     Mamba2{.heads = 4, .state = 3, .groups = 2, .norm_groups = 1}, mamba_2),
      recurrent_form("short convolution", ShortConvolution{}, short_conv),
      recurrent_form("short convolution with biases", ShortConvolution{.width = 5, .bias = true},
                     short_conv)};
}

}  // namespace moe::test
