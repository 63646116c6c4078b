#include <algorithm>
#include <cmath>

#include <moe/models/counts.h>
#include <moe/models/layer_facts.h>

namespace moe::models {

namespace {

/// Parameters of a feed-forward block: `inner` is 2 for gated ones.
int64_t feed_forward_count(int64_t width, int64_t hidden, int64_t inner, bool bias) {
  return (inner + 1) * width * hidden + (bias ? inner * hidden + width : 0);
}

/// The counts are sums and products of integers; throws unless they fit.
void check_countable(const ModelOptions& o) {
  const auto D = static_cast<double>(o.d_model), S = static_cast<double>(o.context_length);
  const double heads = static_cast<double>(o.heads) * static_cast<double>(o.head_width());
  double numbers = 2 * D * static_cast<double>(o.vocabulary);
  for (int64_t i = 0; i < o.layers; ++i) {
    const auto E = static_cast<double>(o.experts_of(i));
    const auto F = static_cast<double>(E > 0 ? o.expert_width() : o.dense_width(i));
    numbers += 4 * heads * (D + S) +
               3 * D * (std::max(E, 1.0) * F + static_cast<double>(o.moe.shared.d_ff));
  }
  // Bytes of training and FLOPs are small multiples of it.
  check<ConfigError>(numbers < 0x1p57, "models/count",
                     "expected a model of fewer than 2^57 parameters, got ", numbers,
                     ". Lower its widths, layers or experts.");
}

}  // namespace

ModelCounts count(const ModelOptions& o) {
  check_countable(o);
  const int64_t D = o.d_model, P = o.head_width(), Q = o.heads * P, KV = o.kv_head_count() * P;
  const int64_t norm = o.norm == "layernorm" ? 2 : 1;
  const int64_t attention = D * (2 * Q + 2 * KV) + (o.attention_bias ? Q + 2 * KV + D : 0) +
                            (o.qk_norm ? 2 * norm * P : 0);
  const auto facts = layer_facts(o);
  int64_t shared_by_all = 0, unused = 0;
  for (int64_t i = 0; i < o.layers; ++i) {
    const int64_t E = o.experts_of(i);
    shared_by_all += attention + 2 * norm * D;
    if (E == 0) {
      shared_by_all += feed_forward_count(D, o.dense_width(i), o.feed_forward == "gated" ? 2 : 1,
                                          o.feed_forward_bias);
      continue;
    }
    const auto& layer = facts[static_cast<size_t>(i)];
    const auto met =
        std::llround(layer.experts_per_token * static_cast<double>(layer.expert_parameters) /
                     static_cast<double>(E));
    shared_by_all += layer.router_parameters + met;
    unused += layer.expert_parameters - met;
    if (o.moe.shared.d_ff > 0)
      shared_by_all +=
          feed_forward_count(D, o.moe.shared.d_ff, 2, false) + (o.moe.shared.gate ? D : 0);
  }
  if (o.norm_position == "pre") shared_by_all += norm * D;
  const int64_t embedding = o.vocabulary * D, head = o.tied_embeddings ? 0 : embedding;

  ModelCounts out;
  out.active_without_embeddings = shared_by_all;
  out.active_without_input_embedding = shared_by_all + embedding;  // the output matrix, tied or not
  out.active = shared_by_all + embedding + head;
  out.total = out.active + unused;
  out.flops_per_token =
      2 * out.active_without_input_embedding + o.layers * 4 * Q * o.context_length;
  out.kv_cache_bytes = o.layers * 2 * KV * o.context_length * 4;
  return out;
}

}  // namespace moe::models
