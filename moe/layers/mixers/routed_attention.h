#pragma once
// D width, E experts, K choices of a token, G key-value heads, P width of a head.

#include <string>
#include <vector>

#include <moe/balance/term.h>
#include <moe/layers/mixer.h>
#include <moe/layers/rope.h>
#include <moe/routing/router.h>

namespace moe {

/// The mixer "routed_attention", a mixture of attention heads (Zhang et al. 2022, as in JetMoE):
/// each token projects its queries and its output by K of E experts, over keys and values that all
/// share. With router weights g_tk for the experts e_tk,
///
///   y_t = sum_k g_tk w_o[e_tk] concat_g softmax(q_tkg K_g^T / sqrt(P)) V_g + b_o,
///   q_tk = w_q[e_tk] x_t in G heads of width P,
///
/// over what a token may see of its own sequence; queries and keys are turned by their positions.
/// Its balance terms stand in the report of its block as "attention_KIND"; its load is in no
/// report. Terms that go on over micro-batches or keep state are refused, as routers with state
/// are.
///
/// Parameters: router.… (see the router), w_q (E, G·P, D), w_k and w_v (G·P, D), w_o (E, D, G·P),
/// b_o (D).
struct RoutedAttention {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  RouterSpec router = {};
  std::vector<BalanceSpec> balance = {};
  int64_t kv_heads = 1;
  int64_t head_dim = 0;
  Rope rope = {};
  bool output_bias = false;
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("num_experts", num_experts, "experts, each with projections of queries and output");
    v("top_k", top_k, "experts a token chooses; it has top_k · kv_heads query heads");
    v("router", router, "which experts");
    v("balance", balance, "losses on the routing of heads, beside a feed_forward that routes");
    v("kv_heads", kv_heads, "key-value heads, and query heads of one expert");
    v("head_dim", head_dim, "width of a head; 0: d_model / (top_k · kv_heads)");
    v("rope", rope, "rotary positions");
    v("output_bias", output_bias, "bias of the output, after the experts' sum");
    v("dropout", dropout, "share of the attention weights that is zeroed in training");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the router.
  void resolve();

  operator layers::MixerSpec() const {
    return spec_of<layers::MixerSpec>("routed_attention", *this);
  }
};

}  // namespace moe
