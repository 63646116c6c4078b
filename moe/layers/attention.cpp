// B batch, S sequence, D width, H query heads, G key-value heads, P head width, C keys.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/layers/attention.h>
#include <moe/layers/document_groups.h>
#include <moe/layers/linear.h>
#include <moe/ops/random_fill.h>
#include <moe/ops/rope.h>

namespace moe::layers {

namespace {

/// Appends to the cache and returns everything it holds.
std::pair<Tensor, Tensor> extend(KeyValueCache& cache, const Tensor& key_BSGP,
                                 const Tensor& value_BSGP) {
  const int64_t S = key_BSGP.size(1), total = cache.length + S;
  const auto held = cache.key_BCHP.sizes();
  check(held.size() == 4 && held[0] == key_BSGP.size(0) && held[2] == key_BSGP.size(2) &&
            held[3] == key_BSGP.size(3) && cache.value_BCHP.sizes() == held,
        "layers/attention", "expected a cache of shape (", key_BSGP.size(0), ", capacity, ",
        key_BSGP.size(2), ", ", key_BSGP.size(3), "), got ", held,
        ". Make a new state for this batch.");
  check(total <= cache.key_BCHP.size(1), "layers/attention", "expected at most ",
        cache.key_BCHP.size(1), " positions, got ", total,
        ". Make the cache larger or the text shorter.");
  cache.key_BCHP.narrow(1, cache.length, S).copy_(key_BSGP);
  cache.value_BCHP.narrow(1, cache.length, S).copy_(value_BSGP);
  cache.length = total;
  return {cache.key_BCHP.narrow(1, 0, total), cache.value_BCHP.narrow(1, 0, total)};
}

/// What a weight is multiplied by: 0 with probability p, else 1 / (1 - p), keyed by query position.
Tensor dropout_keep(const Tensor& weights_BHSC, double p, const RoutingContext& context) {
  const int64_t B = weights_BHSC.size(0), H = weights_BHSC.size(1), S = weights_BHSC.size(2),
                C = weights_BHSC.size(3);
  const auto ids = weights_BHSC.options().dtype(at::kLong);
  const Tensor token_BS =
      at::arange(context.first_token, context.first_token + B * S, ids).view({B, 1, S});
  const Tensor row_BHS = (token_BS * H + at::arange(H, ids).view({1, H, 1})).reshape({B * H * S});
  const RandomStream stream(context.random, Purpose::kAttentionDropout);
  return ops::dropout_mask(row_BHS, C, p, stream, weights_BHSC.scalar_type()).view({B, H, S, C});
}

/// softmax(q k^T / sqrt(P) where allowed) v with every weight in memory, dropout on the weights.
Tensor attend_in_full(const Tensor& q_BHSP, const Tensor& k_BGCP, const Tensor& v_BGCP,
                      const Tensor& allowed, double p, const RoutingContext& context) {
  const int64_t B = q_BHSP.size(0), H = q_BHSP.size(1), S = q_BHSP.size(2), P = q_BHSP.size(3),
                C = k_BGCP.size(2), N = B * H, repeat = H / k_BGCP.size(1);
  const auto every_head = [&](const Tensor& x_BGCP) {
    return (repeat == 1 ? x_BGCP : x_BGCP.repeat_interleave(repeat, 1)).reshape({N, C, P});
  };
  Tensor bias = at::zeros({}, q_BHSP.options());
  if (allowed.defined())
    bias =
        at::zeros(allowed.sizes(), q_BHSP.options()).masked_fill_(allowed.logical_not(), -INFINITY);
  const Tensor bias_NSC = bias.expand({B, H, S, C}).reshape({N, S, C});
  const Tensor q_NSP = (q_BHSP / std::sqrt(static_cast<double>(P))).reshape({N, S, P});
  Tensor weights_NSC =
      at::softmax(at::baddbmm(bias_NSC, q_NSP, every_head(k_BGCP).transpose(1, 2)), -1);
  if (p > 0)
    weights_NSC =
        weights_NSC * dropout_keep(weights_NSC.view({B, H, S, C}), p, context).view({N, S, C});
  return at::bmm(weights_NSC, every_head(v_BGCP)).view({B, H, S, P});
}

/// libtorch's fused form is slow backward in 16 bits on the CPU: at 128 to 256 keys the products
/// over whole weights take 0.25 to 0.45 of its time. Beyond that their memory counts.
bool full_is_faster(const Tensor& q_BHSP, const Tensor& k_BGCP, const RoutingContext& context) {
  constexpr int64_t kMostKeys = 512;
  // Recomputation runs the same pass without gradients first, and must get the same numbers.
  const bool learns = context.training || at::GradMode::is_enabled();
  return learns && q_BHSP.is_cpu() && c10::isReducedFloatingType(q_BHSP.scalar_type()) &&
         k_BGCP.size(2) <= kMostKeys;
}

}  // namespace

AttentionImpl::AttentionImpl(const AttentionOptions& options) : options_(options) {
  auto& o = options_;
  if (o.kv_heads == 0) o.kv_heads = o.heads;
  check<ConfigError>(o.head_dim > 0 || o.heads <= 0 || o.d_model % o.heads == 0, "layers/attention",
                     "expected d_model to be a multiple of heads, got ", o.d_model, " and ",
                     o.heads, ". Change one of them, or set head_dim.");
  if (o.head_dim == 0) o.head_dim = o.d_model / std::max<int64_t>(1, o.heads);
  check<ConfigError>(o.heads > 0 && o.kv_heads > 0 && o.heads % o.kv_heads == 0, "layers/attention",
                     "expected heads to be a multiple of kv_heads, got ", o.heads, " and ",
                     o.kv_heads, ". Change one of them.");
  check<ConfigError>(o.head_dim > 0 && o.head_dim % 2 == 0, "layers/attention",
                     "expected an even head width, got ", o.head_dim,
                     ". Set head_dim, or make d_model a multiple of twice the heads.");
  const int64_t D = o.d_model, Q = o.heads * o.head_dim, KV = o.kv_heads * o.head_dim;
  w_q = register_parameter("w_q", at::empty({Q, D}));
  w_k = register_parameter("w_k", at::empty({KV, D}));
  w_v = register_parameter("w_v", at::empty({KV, D}));
  w_o = register_parameter("w_o", at::empty({D, Q}));
  if (o.bias) {
    b_q = register_parameter("b_q", at::empty({Q}));
    b_k = register_parameter("b_k", at::empty({KV}));
    b_v = register_parameter("b_v", at::empty({KV}));
    b_o = register_parameter("b_o", at::empty({D}));
  }
  if (o.qk_norm) {
    q_norm = register_module("q_norm", Norm(o.norm, o.head_dim, o.norm_epsilon));
    k_norm = register_module("k_norm", Norm(o.norm, o.head_dim, o.norm_epsilon));
  }
}

Tensor AttentionImpl::mask(const Tensor& valid_BS, const Documents& documents, int64_t queries,
                           int64_t keys, const Tensor& like) const {
  const bool past = keys > queries, alike = !valid_BS.defined() && !documents.defined();
  if (alike && !options_.causal) return {};
  if (alike && past && queries == 1) return {};  // the newest position sees everything
  Tensor allowed = at::ones({queries, keys}, like.options().dtype(at::kBool));
  if (options_.causal) allowed = allowed.tril(keys - queries);
  if (alike) return allowed;
  Tensor visible = allowed.unsqueeze(0);
  if (documents.defined())
    visible = visible.logical_and(
        documents.document_BS.unsqueeze(2).eq(documents.document_BS.unsqueeze(1)));
  // A padding query may see no key at all; it sees itself, so that its softmax stays finite.
  if (valid_BS.defined())
    visible = visible.logical_and(valid_BS.unsqueeze(1))
                  .logical_or(at::ones({queries, keys}, allowed.options())
                                  .tril(keys - queries)
                                  .triu(keys - queries));
  return visible.unsqueeze(1);
}

Tensor AttentionImpl::forward(const Tensor& x_BSD, const Tensor& valid_BS,
                              const RoutingContext& context, KeyValueCache* cache) {
  const int64_t B = x_BSD.size(0), S = x_BSD.size(1), P = options_.head_dim;
  const auto type = context.compute_type(x_BSD);
  const Tensor x = x_BSD.to(type);
  Tensor q_BSHP = linear(x, w_q, b_q, type).view({B, S, options_.heads, P});
  Tensor k_BSGP = linear(x, w_k, b_k, type).view({B, S, options_.kv_heads, P});
  Tensor v_BSGP = linear(x, w_v, b_v, type).view({B, S, options_.kv_heads, P});
  if (options_.qk_norm) {
    q_BSHP = q_norm(q_BSHP).to(type);
    k_BSGP = k_norm(k_BSGP).to(type);
  }
  check(!cache || !valid_BS.defined(), "layers/attention",
        "expected no padding beside a cache, got valid_BS of shape ",
        valid_BS.defined() ? valid_BS.sizes() : at::IntArrayRef(),
        ": later steps would see the padding's keys. Group rows of equal length.");
  const Documents& documents = context.documents;
  check(!cache || !documents.defined(), "layers/attention",
        "expected one document a row beside a cache, got several: later steps would see the keys "
        "of all. Give each document a row and a cache of its own.");
  const int64_t first = cache ? cache->length : 0;
  const auto turn = [&](const Tensor& x_BSHP) {
    return documents.defined() ? ops::rope(x_BSHP, documents.position_BS, options_.rope_theta)
                               : ops::rope(x_BSHP, first, options_.rope_theta);
  };
  q_BSHP = turn(q_BSHP);
  k_BSGP = turn(k_BSGP);
  if (cache) std::tie(k_BSGP, v_BSGP) = extend(*cache, k_BSGP, v_BSGP);

  const double dropout = context.training ? options_.dropout : 0;
  const auto attend = [&](const Tensor& valid, const Documents& apart, const Tensor& q_BSHP,
                          const Tensor& k_BCGP, const Tensor& v_BCGP) {
    const Tensor q_BHSP = q_BSHP.transpose(1, 2), k_BGCP = k_BCGP.transpose(1, 2),
                 v_BGCP = v_BCGP.transpose(1, 2);
    const int64_t queries = q_BHSP.size(2), keys = k_BGCP.size(2);
    const bool plain_causal = options_.causal && !valid.defined() && !apart.defined() && first == 0;
    const bool in_full = dropout > 0 || full_is_faster(q_BHSP, k_BGCP, context);
    const Tensor allowed =
        plain_causal && !in_full ? Tensor() : mask(valid, apart, queries, keys, q_BHSP);
    const Tensor o_BHSP =
        in_full
            ? attend_in_full(q_BHSP, k_BGCP, v_BGCP, allowed, dropout, context)
            : at::scaled_dot_product_attention(
                  q_BHSP, k_BGCP, v_BGCP, allowed.defined() ? std::optional(allowed) : std::nullopt,
                  0.0, plain_causal && queries > 1, std::nullopt,
                  options_.heads != options_.kv_heads);
    return o_BHSP.transpose(1, 2);
  };
  // Dropout is numbered by places in whole rows.
  const bool in_groups =
      documents.defined() && options_.causal && !valid_BS.defined() && dropout == 0;
  const Tensor o_BSHP =
      in_groups
          ? attend_in_groups(q_BSHP, k_BSGP, v_BSGP, group_documents(documents.position_BS),
                             [&](const auto&... rows) { return attend(Tensor(), {}, rows...); })
          : attend(valid_BS, documents, q_BSHP, k_BSGP, v_BSGP);
  return linear(o_BSHP.reshape({B, S, options_.heads * P}), w_o, b_o, type);
}

}  // namespace moe::layers
