#pragma once
// B batch, S sequence, D width, H query heads, G key-value heads, P head width.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <moe/flow/context.h>
#include <moe/layers/kv_cache.h>
#include <moe/layers/norm.h>

namespace moe::layers {

struct AttentionOptions {
  int64_t d_model = 0;
  int64_t heads = 1;
  int64_t kv_heads = 0;  // 0: as many as heads; 1: multi-query; between: grouped-query
  int64_t head_dim = 0;  // 0: d_model / heads
  bool bias = false;
  bool qk_norm = false;
  bool causal = true;
  double rope_theta = 10000;
  double norm_epsilon = 1e-5;
  std::string norm = "rmsnorm";
  double dropout = 0;
};

/// Softmax attention with rotary positions: o = w_o concat_h softmax(q_h k_g(h)^T / sqrt(P))
/// v_g(h). Parameters w_q (H·P, D), w_k, w_v (G·P, D), w_o (D, H·P), optional biases b_…, and with
/// qk_norm one norm over each head's width for queries and keys (Qwen3).
class AttentionImpl : public torch::nn::Module {
 public:
  explicit AttentionImpl(const AttentionOptions& options);

  /// x_BSD -> (B, S, D). `valid_BS` (bool) hides padding keys; undefined: none. With a cache the
  /// positions continue behind what it holds, and it is extended; padding and documents are refused
  /// beside one. With context.documents a query sees keys of its own document alone, and positions
  /// count from each document's beginning: every document gets what it would get alone.
  Tensor forward(const Tensor& x_BSD, const Tensor& valid_BS, const RoutingContext& context,
                 KeyValueCache* cache);

  int64_t head_dim() const { return options_.head_dim; }
  int64_t kv_heads() const { return options_.kv_heads; }

 private:
  /// What a query may see, (Q, C) or (B, 1, Q, C) bool; undefined: everything.
  Tensor mask(const Tensor& valid_BS, const Documents& documents, int64_t queries, int64_t keys,
              const Tensor& like) const;

  AttentionOptions options_;
  Tensor w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o;
  Norm q_norm{nullptr}, k_norm{nullptr};
};
TORCH_MODULE(Attention);

}  // namespace moe::layers
