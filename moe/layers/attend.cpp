// N sequences of equal shape, Q queries, C keys, H query heads, G key-value heads, P width of
// queries and keys, V width of values.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/attend.h>
#include <moe/ops/cpu/libtorch_products.h>
#include <moe/ops/random_fill.h>

namespace moe::layers {

namespace {

bool cuts(const AttendOptions& options, int64_t keys) {
  return options.causal && options.window > 0 && options.window < keys;
}

/// (Q, C) or (N, 1, Q, C) bool; undefined: everything is visible.
Tensor visible(const AttendOptions& options, int64_t queries, int64_t keys, at::Device device) {
  const auto bits = at::TensorOptions(at::kBool).device(device);
  Tensor out;
  // The newest position sees everything, unless a window ends before.
  if (options.causal && (queries > 1 || cuts(options, keys))) {
    out = at::ones({queries, keys}, bits).tril(keys - queries);
    if (cuts(options, keys)) out = out.triu(keys - queries - options.window + 1);
  }
  if (!options.keys_N.defined()) return out;
  const Tensor real_N11C = at::arange(keys, options.keys_N.options())
                               .lt(options.keys_N.unsqueeze(1))
                               .view({-1, 1, 1, keys});
  return out.defined() ? real_N11C.logical_and(out) : real_N11C;
}

/// What a weight is multiplied by: 0 with probability p, else 1 / (1 - p). The numbers of a query
/// and head come in pieces of a fixed width, so that they do not depend on how many keys there are.
Tensor dropout_factors(const Tensor& weights_NHQC, const AttendOptions& options) {
  constexpr int64_t kPiece = 64, kMostPieces = int64_t{1} << 16;
  const int64_t N = weights_NHQC.size(0), H = weights_NHQC.size(1), Q = weights_NHQC.size(2),
                C = weights_NHQC.size(3), pieces = (C + kPiece - 1) / kPiece;
  const auto ids = options.token_NQ.options();
  const Tensor row_NHQ1 =
      options.token_NQ.view({N, 1, Q, 1}) * H + at::arange(H, ids).view({1, H, 1, 1});
  const Tensor piece_R = (row_NHQ1 * kMostPieces + at::arange(pieces, ids)).flatten();
  const RandomStream stream(options.random, Purpose::kAttentionDropout);
  return ops::dropout_mask(piece_R, kPiece, options.dropout, stream, weights_NHQC.scalar_type())
      .view({N, H, Q, pieces * kPiece})
      .narrow(3, 0, C);
}

/// With every weight in memory.
Tensor attend_in_full(const Tensor& q_NHQP, const Tensor& k_NGCP, const Tensor& v_NGCV,
                      const Tensor& visible, const Tensor& added_HQC,
                      const AttendOptions& options) {
  const int64_t N = q_NHQP.size(0), H = q_NHQP.size(1), Q = q_NHQP.size(2), P = q_NHQP.size(3),
                C = k_NGCP.size(2), M = N * H, repeat = H / k_NGCP.size(1);
  const auto& [scale, softcap, sinks_H] = options.scores;
  const auto every_head = [&](const Tensor& x_NGCX) {
    return (repeat == 1 ? x_NGCX : x_NGCX.repeat_interleave(repeat, 1))
        .reshape({M, C, x_NGCX.size(3)});
  };
  Tensor bias = at::zeros({}, q_NHQP.options());
  if (visible.defined())
    bias =
        at::zeros(visible.sizes(), q_NHQP.options()).masked_fill_(visible.logical_not(), -INFINITY);
  if (added_HQC.defined()) bias = bias + added_HQC.to(q_NHQP.scalar_type());
  const Tensor bias_MQC = bias.expand({N, H, Q, C}).reshape({M, Q, C});
  const Tensor q_MQP =
      (scale != 0 ? q_NHQP * scale : q_NHQP / std::sqrt(static_cast<double>(P))).reshape({M, Q, P});
  const Tensor k_MPC = every_head(k_NGCP).transpose(1, 2);
  Tensor scores_MQC = softcap > 0 ? (at::bmm(q_MQP, k_MPC) / softcap).tanh() * softcap + bias_MQC
                                  : at::baddbmm(bias_MQC, q_MQP, k_MPC);
  if (sinks_H.defined()) {
    const Tensor sinks_MQ1 =
        sinks_H.to(q_NHQP.scalar_type()).view({1, H, 1, 1}).expand({N, H, Q, 1});
    scores_MQC = at::cat({scores_MQC, sinks_MQ1.reshape({M, Q, 1})}, -1);
  }
  Tensor weights_MQC = at::softmax(scores_MQC, -1);
  if (sinks_H.defined()) weights_MQC = weights_MQC.narrow(2, 0, C);
  if (options.dropout > 0)
    weights_MQC =
        weights_MQC * dropout_factors(weights_MQC.view({N, H, Q, C}), options).reshape({M, Q, C});
  return at::bmm(weights_MQC, every_head(v_NGCV)).view({N, H, Q, v_NGCV.size(3)});
}

/// libtorch's fused form with sinks: one more key, which every query sees and whose value is 0. A
/// number more of queries and keys holds each head's score with it. All widths become the largest,
/// as the fused form wants them.
Tensor attend_with_sinks(const Tensor& q_NHQP, const Tensor& k_NGCP, const Tensor& v_NGCV,
                         const Tensor& visible, const AttendOptions& options) {
  const int64_t N = q_NHQP.size(0), H = q_NHQP.size(1), Q = q_NHQP.size(2), P = q_NHQP.size(3),
                G = k_NGCP.size(1), V = v_NGCV.size(3), W = std::max(P + 1, V);
  const double scale = options.scores.scale_of(P);
  const Tensor sinks_NHQ1 = (options.scores.sinks_H / scale)
                                .to(q_NHQP.scalar_type())
                                .view({1, H, 1, 1})
                                .expand({N, H, Q, 1});
  const Tensor q_NHQW = at::constant_pad_nd(at::cat({q_NHQP, sinks_NHQ1}, -1), {0, W - P - 1});
  Tensor sink_NG1W = at::zeros({N, G, 1, W}, k_NGCP.options().requires_grad(false));
  sink_NG1W.select(3, P).fill_(1);
  const Tensor k_NGCW = at::cat({at::constant_pad_nd(k_NGCP, {0, W - P}), sink_NG1W}, 2);
  const Tensor v_NGCW = at::constant_pad_nd(v_NGCV, {0, W - V, 0, 1});
  std::optional<Tensor> seen;
  if (visible.defined()) seen = at::constant_pad_nd(visible, {0, 1}, 1);
  return at::scaled_dot_product_attention(q_NHQW, k_NGCW, v_NGCW, seen, 0.0, false, scale, H != G)
      .narrow(3, 0, V);
}

/// libtorch's fused form is slow backward in 16 bits on the CPU: on Zen 4 at 128 to 256 keys the
/// products over whole weights take 0.25 to 0.45 of its time. Beyond that their memory counts.
bool full_is_faster(const Tensor& q, int64_t keys, const AttendOptions& options) {
  constexpr int64_t kMostKeys = 512;
  return options.learns && q.is_cpu() && c10::isReducedFloatingType(q.scalar_type()) &&
         keys <= kMostKeys;
}

/// Whether attention in 16 bits runs in float32, between roundings of what comes and goes: where
/// libtorch has no products in 16 bits worth the name. On Zen 3 that takes 0.10 to 0.14 of the time
/// of full_is_faster's way at 128 to 1024 keys, forward and backward.
bool widens(const Tensor& q) {
  return q.is_cpu() && ops::cpu::type_of_libtorch_products(q.scalar_type()) != q.scalar_type();
}

/// How many queries at a time bound the memory of masks and weights; all, where gradients keep them
/// or libtorch's fused form needs none.
int64_t queries_at_once(const Tensor& q_NQHP, int64_t keys, const AttendOptions& options) {
  constexpr int64_t kMostNumbers = int64_t{1} << 24, kLeastQueries = 64;
  const int64_t Q = q_NQHP.size(1);
  const bool whole = options.scores.softcap > 0 || options.relative.defined(),
             sinks = options.scores.sinks_H.defined();
  if (options.learns || !options.causal || options.keys_N.defined() ||
      !(whole || sinks || cuts(options, keys)))
    return Q;
  const int64_t a_query =
      (whole ? q_NQHP.size(0) * q_NQHP.size(2) : 1) * std::max<int64_t>(1, keys);
  return std::max(kLeastQueries, kMostNumbers / a_query);
}

}  // namespace

Tensor attend(const Tensor& q_NQHP, const Tensor& k_NCGP, const Tensor& v_NCGV,
              const AttendOptions& options) {
  const int64_t Q = q_NQHP.size(1), C = k_NCGP.size(1);
  if (widens(q_NQHP))
    return attend(q_NQHP.to(at::kFloat), k_NCGP.to(at::kFloat), v_NCGV.to(at::kFloat), options)
        .to(q_NQHP.scalar_type());
  if (const int64_t some = queries_at_once(q_NQHP, C, options); Q > some) {
    std::vector<Tensor> out;
    for (int64_t begin = 0; begin < Q; begin += some) {
      const int64_t count = std::min(some, Q - begin), end = C - Q + begin + count;
      const int64_t first =
          options.window > 0 ? std::max<int64_t>(0, end - count - options.window + 1) : 0;
      out.push_back(attend(q_NQHP.narrow(1, begin, count), k_NCGP.narrow(1, first, end - first),
                           v_NCGV.narrow(1, first, end - first), options));
    }
    return at::cat(out, 1);
  }
  const Tensor q_NHQP = q_NQHP.transpose(1, 2), k_NGCP = k_NCGP.transpose(1, 2),
               v_NGCV = v_NCGV.transpose(1, 2);
  const auto& [scale, softcap, sinks_H] = options.scores;
  if (options.dropout > 0 || softcap > 0 || options.relative.defined() ||
      full_is_faster(q_NHQP, C, options)) {
    const Tensor seen = visible(options, Q, C, q_NHQP.device());
    const Tensor added_HQC =
        options.relative.defined() ? options.relative.of(Q, C, options.causal) : Tensor();
    return attend_in_full(q_NHQP, k_NGCP, v_NGCV, seen, added_HQC, options).transpose(1, 2);
  }
  if (sinks_H.defined()) {
    const Tensor seen = visible(options, Q, C, q_NHQP.device());
    return attend_with_sinks(q_NHQP, k_NGCP, v_NGCV, seen, options).transpose(1, 2);
  }
  const bool plain_causal =
      options.causal && Q == C && !cuts(options, C) && !options.keys_N.defined();
  const Tensor seen = plain_causal ? Tensor() : visible(options, Q, C, q_NHQP.device());
  return at::scaled_dot_product_attention(
             q_NHQP, k_NGCP, v_NGCV, seen.defined() ? std::optional(seen) : std::nullopt, 0.0,
             plain_causal && Q > 1, scale != 0 ? std::optional(scale) : std::nullopt,
             q_NHQP.size(1) != k_NGCP.size(1))
      .transpose(1, 2);
}

}  // namespace moe::layers
