// N sequences of equal shape, Q queries, C keys, H query heads, G key-value heads, P head width.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/attend.h>
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
Tensor attend_in_full(const Tensor& q_NHQP, const Tensor& k_NGCP, const Tensor& v_NGCP,
                      const Tensor& visible, const AttendOptions& options) {
  const int64_t N = q_NHQP.size(0), H = q_NHQP.size(1), Q = q_NHQP.size(2), P = q_NHQP.size(3),
                C = k_NGCP.size(2), M = N * H, repeat = H / k_NGCP.size(1);
  const auto every_head = [&](const Tensor& x_NGCP) {
    return (repeat == 1 ? x_NGCP : x_NGCP.repeat_interleave(repeat, 1)).reshape({M, C, P});
  };
  Tensor bias = at::zeros({}, q_NHQP.options());
  if (visible.defined())
    bias =
        at::zeros(visible.sizes(), q_NHQP.options()).masked_fill_(visible.logical_not(), -INFINITY);
  const Tensor bias_MQC = bias.expand({N, H, Q, C}).reshape({M, Q, C});
  const Tensor q_MQP = (q_NHQP / std::sqrt(static_cast<double>(P))).reshape({M, Q, P});
  Tensor weights_MQC =
      at::softmax(at::baddbmm(bias_MQC, q_MQP, every_head(k_NGCP).transpose(1, 2)), -1);
  if (options.dropout > 0)
    weights_MQC =
        weights_MQC * dropout_factors(weights_MQC.view({N, H, Q, C}), options).reshape({M, Q, C});
  return at::bmm(weights_MQC, every_head(v_NGCP)).view({N, H, Q, P});
}

/// libtorch's fused form is slow backward in 16 bits on the CPU: at 128 to 256 keys the products
/// over whole weights take 0.25 to 0.45 of its time. Beyond that their memory counts.
bool full_is_faster(const Tensor& q, int64_t keys, const AttendOptions& options) {
  constexpr int64_t kMostKeys = 512;
  return options.learns && q.is_cpu() && c10::isReducedFloatingType(q.scalar_type()) &&
         keys <= kMostKeys;
}

}  // namespace

Tensor attend(const Tensor& q_NQHP, const Tensor& k_NCGP, const Tensor& v_NCGP,
              const AttendOptions& options) {
  const Tensor q_NHQP = q_NQHP.transpose(1, 2), k_NGCP = k_NCGP.transpose(1, 2),
               v_NGCP = v_NCGP.transpose(1, 2);
  const int64_t Q = q_NHQP.size(2), C = k_NGCP.size(2);
  if (options.dropout > 0 || full_is_faster(q_NHQP, C, options)) {
    const Tensor seen = visible(options, Q, C, q_NHQP.device());
    return attend_in_full(q_NHQP, k_NGCP, v_NGCP, seen, options).transpose(1, 2);
  }
  const bool plain_causal =
      options.causal && Q == C && !cuts(options, C) && !options.keys_N.defined();
  const Tensor seen = plain_causal ? Tensor() : visible(options, Q, C, q_NHQP.device());
  return at::scaled_dot_product_attention(
             q_NHQP, k_NGCP, v_NGCP, seen.defined() ? std::optional(seen) : std::nullopt, 0.0,
             plain_causal && Q > 1, std::nullopt, q_NHQP.size(1) != k_NGCP.size(1))
      .transpose(1, 2);
}

}  // namespace moe::layers
